import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { readConfig } from '../../server/config'
import { fingerprintOf } from '../../server/keeper/token-set'
import { createService, type Service } from '../../server/service'
import type { TokenStore } from '../../storage'
import { inMemoryLeases } from '../../storage/leases/in-memory'
import { memoryStore } from '../support/memory-store'
import { type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// Sign-ins that two instances have to do with at the same time, each believing that the lease is its own.

const DEVICE = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code' }

let yoto: StandIn
let store: TokenStore
beforeEach(async () => {
  yoto = await startStandIn({ interval: 1 })
  store = memoryStore()
})
afterEach(() => yoto.stop())

/** An instance on the store, with leases that nobody else knows of. */
async function start(over: TokenStore = store): Promise<Service> {
  const config = readConfig({ YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url }, '/')
  const backend = { place: 'memory', watchInterval: 60_000, removeLeftovers: async () => {}, checks: [] }
  const service = await createService(config, { ...backend, store: over, lease: inMemoryLeases() })
  onTestFinished(() => service.close())
  return service
}

/** The store, but for one write, the first that `isMeant`: that one waits. */
function holding(isMeant: (value: string) => boolean) {
  let reach = () => {}
  let release = () => {}
  const reached = new Promise<void>((resolve) => (reach = resolve))
  const released = new Promise<void>((resolve) => (release = resolve))
  let isHeld = false
  const held: TokenStore = {
    ...store,
    async write(key, value, onlyIf) {
      if (!isHeld && key.startsWith('.yoto_login_') && isMeant(value)) {
        isHeld = true
        reach()
        await released
      }
      return store.write(key, value, onlyIf)
    },
  }
  return { store: held, reached, release }
}

const isOutcome = (value: string) => value.includes('ended_at')
const answers = (error: string) => yoto.inject({ kind: 'status', status: 403, body: { error } }, DEVICE)

/** Polls when it is time, until it has ended there. */
async function pollToItsEnd(service: Service, handle: string) {
  const ended = async () => {
    await service.deviceLogins.tick()
    const state = await service.deviceLogins.state(handle)
    return state.status !== 'pending' && state
  }
  return waitUntil(ended, { what: 'the sign-in had ended' })
}

async function tickWhenDue(service: Service): Promise<void> {
  await waitUntil(() => Date.now() >= (service.deviceLogins.nextDue() ?? Number.POSITIVE_INFINITY), {
    what: 'it was time',
  })
  await service.deviceLogins.tick()
}

const outcomes = async ({ journal }: Service) =>
  (await journal.read()).filter(({ kind }) => kind === 'sign_in').map(({ outcome }) => outcome)

describe('a sign-in by code that two instances poll: the first outcome stands', () => {
  it('where another one comes while it is written', async () => {
    const slow = holding(isOutcome)
    const [late, early] = [await start(slow.store), await start()]
    const { handle } = await late.deviceLogins.begin()
    answers('access_denied')
    const ending = tickWhenDue(late)
    await slow.reached
    answers('expired_token')
    const first = await pollToItsEnd(early, handle)
    expect(first).toMatchObject({ status: 'expired' })
    slow.release()
    await ending
    for (const service of [late, early]) expect(await service.deviceLogins.state(handle)).toEqual(first)
    expect(await outcomes(late)).toEqual(['begun'])
    expect(await outcomes(early)).toEqual(['expired_token'])
  })

  it('which is written all the same where another one has put its next poll off meanwhile', async () => {
    const slow = holding(isOutcome)
    const [late, early] = [await start(slow.store), await start()]
    const { handle } = await late.deviceLogins.begin()
    answers('access_denied')
    const ending = tickWhenDue(late)
    await slow.reached
    const polled = async () => {
      await early.deviceLogins.tick()
      return yoto.counts.polls > before
    }
    const before = yoto.counts.polls
    await early.deviceLogins.state(handle) // from then on it polls as well
    await waitUntil(polled, { what: 'the other one had polled' })
    slow.release()
    await ending
    for (const service of [late, early]) {
      expect(await service.deviceLogins.state(handle)).toMatchObject({ status: 'error', error: 'access_denied' })
    }
  })

  it('where a poll that has brought nothing is noted late', async () => {
    let writes = 0
    const slow = holding((value) => value.includes('next_poll_at') && ++writes === 3) // begun, about to be sent, answered
    const [late, early] = [await start(slow.store), await start()]
    const { handle } = await late.deviceLogins.begin()
    answers('authorization_pending')
    const polling = tickWhenDue(late)
    await slow.reached
    answers('access_denied')
    const first = await pollToItsEnd(early, handle)
    slow.release()
    await polling
    for (const service of [late, early]) expect(await service.deviceLogins.state(handle)).toEqual(first)
  })

  it('where it is to be polled and has ended since it was looked at: Yoto is not asked', async () => {
    let writes = 0
    const slow = holding((value) => value.includes('next_poll_at') && ++writes === 2)
    const [late, early] = [await start(slow.store), await start()]
    const { handle } = await late.deviceLogins.begin()
    const polling = tickWhenDue(late)
    await slow.reached
    answers('access_denied')
    const first = await pollToItsEnd(early, handle)
    const { polls } = yoto.counts
    slow.release()
    await polling
    expect(yoto.counts.polls).toBe(polls)
    expect(await late.deviceLogins.state(handle)).toEqual(first)
  })
})

describe('a sign-in in the browser that comes back to two instances', () => {
  it('is used by one of them', async () => {
    const instances = [await start(), await start()]
    const begun = await instances[0]?.browserLogins.begin('http://localhost/api/auth/callback')
    const wayBack = { state: begun?.state ?? '', secret: begun?.secret, code: yoto.authorize() }
    const endings = await Promise.all(instances.map(({ browserLogins }) => browserLogins.finish(wayBack)))
    expect(endings.sort()).toEqual(['success', 'used'])
    const kept = JSON.parse((await store.read(`.yoto_login_${begun?.state}.json`)) ?? '')
    expect(kept).toMatchObject({ kind: 'ended', status: 'success' })
  })

  it('keeps the outcome that is there when its own comes late', async () => {
    const slow = holding((value) => value.includes('"Signed in."'))
    const [late, other] = [await start(slow.store), await start()]
    const { state, secret } = await late.browserLogins.begin('http://localhost/api/auth/callback')
    const finishing = late.browserLogins.finish({ state, secret, code: yoto.authorize() })
    await slow.reached
    const path = `.yoto_login_${state}.json`
    const ended = JSON.stringify({ version: 1, ended_at: new Date().toISOString(), status: 'error', message: 'other' })
    await store.write(path, ended)
    slow.release()
    expect(await finishing).toBe('success')
    expect(await store.read(path)).toBe(ended)
    expect(await other.browserLogins.finish({ state, secret, code: 'another' })).toBe('used')
  })
})

describe('what was stored before records were tagged by kind', () => {
  const [soon, past] = [60_000, -1_000].map((ms) => new Date(Date.now() + ms).toISOString()) as [string, string]
  const begun = () => ({ version: 1, client_id: yoto.clientId, server: yoto.url, began_at: past, expires_at: soon })
  const handle = '0123456789abcdef'.repeat(2)
  const put = (record: object) => store.write(`.yoto_login_${handle}.json`, JSON.stringify(record))

  it('is polled, if it is by code', async () => {
    const verification = { verification_uri: yoto.url, verification_uri_complete: yoto.url }
    const device = { device_code: 'dc', user_code: 'ABCD-EFGH', ...verification, interval: 1_000, next_poll_at: past }
    await put({ ...begun(), ...device })
    answers('access_denied')
    const service = await start()
    expect((await service.deviceLogins.newest())?.handle).toBe(handle)
    expect(await pollToItsEnd(service, handle)).toMatchObject({ status: 'error', error: 'access_denied' })
    expect(JSON.parse((await store.read(`.yoto_login_${handle}.json`)) ?? '')).toMatchObject({ kind: 'ended' })
  })

  it('comes back, if it is in the browser', async () => {
    const redirect_uri = 'http://localhost/api/auth/callback'
    await put({ ...begun(), code_verifier: 'v'.repeat(64), redirect_uri, browser: fingerprintOf('the secret') })
    const wayBack = { state: handle, secret: 'the secret', code: yoto.authorize() }
    expect(await (await start()).browserLogins.finish(wayBack)).toBe('success')
  })

  it('is told, if it has ended', async () => {
    await put({ version: 1, ended_at: past, status: 'expired', message: 'The code has run out.' })
    const state = await (await start()).deviceLogins.state(handle)
    expect(state).toMatchObject({ status: 'expired', message: 'The code has run out.' })
  })
})
