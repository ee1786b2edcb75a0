import { describe, expect, it } from 'vitest'
import type { Keeper } from '../support/keeper-process'
import type { Fault } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'
import {
  askReady,
  askStatus,
  askToken,
  changed,
  expectNoSecrets,
  expectSignedIn,
  expectStored,
  FOR_REFRESH,
  letTimePass,
  refresh,
  setScene,
  signIn,
  storedRecord,
  without,
} from './scene'

/**
 * Yoto has rotated the token and its answer does not arrive, or cannot be read: the retry saves the sign-in where a leeway is open, and
 * where none is, it is said and Yoto is left alone (DESIGN, rules 5, 7).
 */

describe.concurrent('Yoto has rotated, and its answer is lost', () => {
  const table: [name: string, Fault][] = [
    ['the connection is reset', { kind: 'reset-after' }],
    ['500', { kind: 'status-after', status: 500 }],
    ['cut JSON', { kind: 'cut-json' }],
    ['an access_token that is a number', changed({ access_token: 5 })],
    ['a refresh_token that is a number', changed({ refresh_token: 7 })],
    ['no access_token', without('access_token')],
    ['a body that drips', { kind: 'slow-drip' }],
  ]

  it.for(table)('%s, with a leeway: the retry gets the sign-in back', async ([, fault], context) => {
    const rehearse = async (access: 'valid' | 'expired') => {
      const scene = await setScene(context, access, { leewayMs: 60_000 })
      scene.yoto.inject(fault, FOR_REFRESH)
      const keeper = await scene.start()
      if (access === 'valid')
        expect(await refresh(keeper)).toMatchObject({ status: 200, body: { authenticated: true } })
      await waitUntil(() => scene.yoto.counts.refresh_ok === 2, { what: 'the service had tried again' })
      await expectSignedIn(keeper, scene)
      if (access === 'expired') {
        await keeper.stop()
        await expectSignedIn(await scene.start(), scene)
      }
      expect(scene.refreshes()).toHaveLength(2)
      expect(scene.yoto.counts).toMatchObject({ refresh_ok: 2, refresh_refused: 0, refresh_reused: 0, revoked: 0 })
    }
    await Promise.all([rehearse('valid'), rehearse('expired')])
  })

  it.for(table)('%s, without a leeway: it says so, keeps the file and asks no more', async ([, fault], context) => {
    const rehearse = async (access: 'valid' | 'expired') => {
      const scene = await setScene(context, access)
      const { yoto, dir, first } = scene
      yoto.inject(fault, FOR_REFRESH)
      const keeper = await scene.start()
      if (access === 'valid')
        expect(await refresh(keeper)).toMatchObject({ status: 409, body: { error: 'needs_sign_in' } })
      await waitUntil(() => yoto.counts.refresh_refused === 1, { what: 'Yoto had refused' })

      const look = async (one: Keeper) => {
        const token = await askToken(one)
        if (access === 'expired') expect(token).toMatchObject({ status: 409, body: { error: 'needs_sign_in' } })
        else expect(token).toMatchObject({ status: 200, body: { access_token: first.access_token } }) // to its end
        expect(await refresh(one)).toMatchObject({ status: 409, body: { error: 'needs_sign_in' } })
        expect(await askStatus(one)).toMatchObject({ state: 'needs_sign_in', authenticated: access === 'valid' })
        expect(await askReady(one)).toMatchObject({ status: 200, body: { ready: true } })
        await expectStored(dir, `${first.refresh_token}\n`)
        expect(storedRecord(dir)).toMatchObject({ refusals: [{ client_id: yoto.clientId, server: yoto.url }] })
      }
      await waitUntil(async () => (await askStatus(keeper)).state === 'needs_sign_in', { what: 'the service said so' })
      await look(keeper)
      if (access === 'expired') {
        await letTimePass(keeper, yoto)
        await look(keeper)
        await keeper.stop()
        await look(await scene.start())
      }
      expect(scene.refreshes()).toHaveLength(2)
      expectNoSecrets(keeper, scene)
    }
    await Promise.all([rehearse('valid'), rehearse('expired')])
  })

  it.for(['none', 'expired'] as const)(
    'a refused token (record before: %s) is tried again with another client id, and with the old one still not',
    async (access, context) => {
      const scene = await setScene(context, access)
      const { yoto, dir, first } = scene
      yoto.inject({ kind: 'reset-after' }, FOR_REFRESH)
      let keeper = await scene.start()
      await waitUntil(async () => (await askStatus(keeper)).state === 'needs_sign_in', { what: 'Yoto had refused' })
      expect(scene.refreshes()).toHaveLength(2)
      await keeper.stop()

      keeper = await scene.start({ YOTO_CLIENT_ID: 'another-client' })
      await waitUntil(async () => (await askStatus(keeper)).problem === 'misconfigured', { what: 'it was tried again' })
      expect(scene.refreshes()).toHaveLength(3)
      await keeper.stop()

      keeper = await scene.start()
      expect(await askToken(keeper)).toMatchObject({ status: 409, body: { error: 'needs_sign_in' } })
      await letTimePass(keeper, yoto)
      expect(scene.refreshes()).toHaveLength(3)
      await expectStored(dir, `${first.refresh_token}\n`)
    },
  )

  it('a refused sign-in is replaced by a new one, and that lasts', async (context) => {
    const scene = await setScene(context, 'expired')
    const { yoto } = scene
    yoto.inject({ kind: 'reset-after' }, FOR_REFRESH)
    const keeper = await scene.start()
    await waitUntil(async () => (await askStatus(keeper)).state === 'needs_sign_in', { what: 'Yoto had refused' })
    await signIn(keeper, yoto)
    await expectSignedIn(keeper, scene)
    await keeper.stop()
    await expectSignedIn(await scene.start(), scene)
    expect(scene.refreshes()).toHaveLength(2)
  })
})
