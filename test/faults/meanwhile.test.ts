import { renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Keeper } from '../support/keeper-process'
import type { SeededTokens } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'
import {
  type AccessToken,
  askStatus,
  askToken,
  duringRefresh,
  expectSignedIn,
  expectSignedOut,
  expectStored,
  expectWorkingToken,
  lasting,
  letTimePass,
  place,
  RECORD,
  type Scene,
  setScene,
  settle,
  signIn,
  signOut,
  storedToken,
  TOKEN,
  whoami,
} from './scene'

/**
 * What others do to the store, above all while a refresh is under way, and what the clock does: nobody is signed out who need not be, and
 * nobody who signed out is signed in again (DESIGN, rules 6, 10, 12).
 */

type Context = Parameters<typeof setScene>[0]

describe.concurrent('during a refresh, with its answer on the way,', () => {
  const LEEWAY = { leewayMs: 60_000 }

  it('the process is killed: another one on the folder, with nothing to do, repeats it within the leeway', async (context) => {
    const scene = await setScene(context, 'valid', LEEWAY)
    const { yoto, dir, first } = scene
    const [doomed, other] = [await scene.start(), await scene.start()]
    const hold = yoto.hold({ grant_type: 'refresh_token' })
    const asked = doomed.fetch('/api/auth/refresh', { method: 'POST' }).catch(() => {})
    await hold.reached
    await doomed.kill()
    hold.release()
    await asked
    await waitUntil(() => storedToken(dir) === yoto.currentRefreshToken(), {
      what: 'the other one had saved the new token',
    })
    expect(storedToken(dir)).not.toContain(first.refresh_token)
    expect(yoto.counts).toMatchObject({ refresh_ok: 2, refresh_refused: 0 })
    expect(await askStatus(other)).toMatchObject({ state: 'signed_in', authenticated: true })
  })

  it.for(['valid', 'none'] as const)(
    'the token is replaced (by one with record: %s): that one counts, the other is revoked',
    async (access, context) => {
      const scene = await setScene(context, 'valid')
      const { yoto, dir, first } = scene
      const keeper = await scene.start()
      const second = yoto.seed()
      const answer = await duringRefresh(keeper, scene, () => place(dir, yoto, second, access))
      expect(answer).toMatchObject({ status: 200, body: { state: 'signed_in', authenticated: true } })
      await waitUntil(() => yoto.isRevoked(first.refresh_token), { what: 'the dropped token was revoked' })
      expect(yoto.counts.revoked).toBe(1)
      expect(yoto.isRevoked(second.refresh_token)).toBe(false)
      if (access === 'valid') {
        expect(storedToken(dir)).toBe(`${second.refresh_token}\n`)
        expect((await askToken(keeper)).body).toMatchObject({ access_token: second.access_token })
        expect(scene.refreshes()).toHaveLength(1)
      } else {
        await expectSignedIn(keeper, scene, second)
        expect(scene.refreshes()).toHaveLength(2)
      }
      await keeper.stop()
      const again = await scene.start()
      await expectWorkingToken(again, yoto)
      expect(yoto.counts.refresh_refused).toBe(0)
    },
  )

  it('the token is deleted: signed out, and what came back is revoked and dropped', async (context) => {
    const scene = await setScene(context, 'valid')
    const { yoto, dir, first } = scene
    const keeper = await scene.start()
    const answer = await duringRefresh(keeper, scene, () => unlinkSync(join(dir, TOKEN)))
    expect(answer).toMatchObject({ status: 409, body: { error: 'signed_out' } })
    await waitUntil(() => yoto.isRevoked(first.refresh_token), { what: 'the dropped token was revoked' })
    await expectSignedOut(keeper, scene)
    expect(yoto.counts).toMatchObject({ refresh_ok: 1, revoked: 1 })
  })

  it('somebody signs out: signed out, with the token that was on its way', async (context) => {
    const scene = await setScene(context, 'valid', LEEWAY)
    const { yoto, first } = scene
    const keeper = await scene.start()
    let signedOut: ReturnType<typeof signOut> | undefined
    await duringRefresh(keeper, scene, async () => {
      signedOut = signOut(keeper)
      await settle(keeper)
    })
    expect(await signedOut).toMatchObject({ status: 200, body: { success: true, message: 'Signed out.' } })
    expect(yoto.isRevoked(first.refresh_token)).toBe(true)
    await expectSignedOut(keeper, scene)
  })

  it('somebody signs out in another process on the same folder', async (context) => {
    const scene = await setScene(context, 'valid', LEEWAY)
    const { yoto, first } = scene
    const [keeper, other] = await Promise.all([scene.start(), scene.start()])
    let signedOut: ReturnType<typeof signOut> | undefined
    await duringRefresh(keeper, scene, async () => {
      signedOut = signOut(other)
      await settle(other)
    })
    expect(await signedOut).toMatchObject({ status: 200, body: { success: true, message: 'Signed out.' } })
    expect(yoto.isRevoked(first.refresh_token)).toBe(true)
    await waitUntil(async () => (await askToken(other)).status === 409, { what: 'the other one had signed out' })
    await expectSignedOut(keeper, scene)
    expect((await askToken(other)).body).toMatchObject({ error: 'signed_out' })
  })

  it('somebody signs in: the new sign-in counts, and the old one is revoked', async (context) => {
    const scene = await setScene(context, 'valid', LEEWAY)
    const { yoto, first } = scene
    const keeper = await scene.start()
    let signedIn: Promise<void> | undefined
    await duringRefresh(keeper, scene, async () => {
      signedIn = signIn(keeper, yoto)
      await waitUntil(() => yoto.currentRefreshToken() !== yoto.currentRefreshToken(first.refresh_token), {
        what: 'Yoto had issued the new sign-in',
      })
    })
    await signedIn
    await expectSignedIn(keeper, scene)
    await waitUntil(() => yoto.isRevoked(first.refresh_token), { what: 'the old sign-in was revoked' })
    expect(yoto.isRevoked(storedToken(scene.dir))).toBe(false)
    await keeper.stop()
    await expectSignedIn(await scene.start(), scene)
    expect(yoto.counts.refresh_refused).toBe(0)
  })
})

describe.concurrent('from outside, and with no refresh under way,', () => {
  it('somebody signs out in another process on the same folder', async (context) => {
    const scene = await setScene(context, 'valid')
    const [keeper, other] = await Promise.all([scene.start(), scene.start()])
    expect(await signOut(other)).toMatchObject({ status: 200, body: { success: true, message: 'Signed out.' } })
    expect(scene.yoto.counts.revoked).toBe(1)
    await expectSignedOut(keeper, scene)
    expect((await askToken(other)).body).toMatchObject({ error: 'signed_out' })
    expect(scene.refreshes()).toHaveLength(0)
  })

  it('the token is deleted: signed out, and the access token goes with it', async (context) => {
    const scene = await setScene(context, 'valid')
    const keeper = await scene.start()
    unlinkSync(join(scene.dir, TOKEN))
    await expectSignedOut(keeper, scene)
  })

  it('the token is deleted while the service does not run: the access token in its record goes with it', async (context) => {
    const scene = await setScene(context, 'valid')
    unlinkSync(join(scene.dir, TOKEN))
    const keeper = await scene.start()
    await expectSignedOut(keeper, scene)
  })

  it('the token is replaced: the new one is used within moments, and nobody is asked', async (context) => {
    const scene = await setScene(context, 'valid')
    const { yoto, dir, first } = scene
    const keeper = await scene.start()
    const second: SeededTokens = yoto.seed()
    place(dir, yoto, second, 'none')
    rmSync(join(dir, RECORD))
    await expectSignedIn(keeper, scene, second)
    expect((await askToken(keeper)).body.access_token).not.toBe(first.access_token)
    expect(yoto.counts).toMatchObject({ refresh_ok: 1, revoked: 0 })
  })

  it('another process gets what this one could not: its trouble is over', async (context) => {
    const scene = await setScene(context, 'expired')
    const end = lasting(scene.yoto, { kind: 'status', status: 503, headers: { 'retry-after': '3600' } })
    const keeper = await scene.start()
    expect(await askToken(keeper)).toMatchObject({ status: 503, body: { error: 'yoto_unreachable' } })
    end()
    const other = await scene.start()
    await expectSignedIn(other, scene)
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes()).toHaveLength(2)
  })
})

describe.concurrent('the wall clock', () => {
  const DAY = 86_400_000
  /** What `Date` says is moved by the number in a file. */
  const preload = `
    import { readFileSync } from 'node:fs'
    const Real = Date
    const now = () => Real.now() + Number(readFileSync(process.env.CLOCK_FILE, 'utf8'))
    globalThis.Date = class extends Real {
      constructor(...args) {
        super(...(args.length ? args : [now()]))
      }
      static now = now
    }`

  async function setSceneWithClock(context: Context, access: AccessToken) {
    const scene = await setScene(context, access)
    const file = join(dirname(scene.dir), 'clock')
    const set = (offset: number) => {
      writeFileSync(`${file}.new`, String(offset))
      renameSync(`${file}.new`, file)
    }
    set(0)
    const args = ['--import', `data:text/javascript,${encodeURIComponent(preload)}`]
    return { ...scene, set, startWithClock: () => scene.start({ CLOCK_FILE: file }, { args }) }
  }

  /** The token in memory is of a time that the clock denies: another one is fetched, it works, and it is fetched once. */
  async function expectOneRefresh(keeper: Keeper, scene: Scene, offset: number, cause: () => unknown) {
    const sent = scene.refreshes().length
    const before = (await askToken(keeper)).body.access_token
    await cause()
    const token = await expectWorkingToken(keeper, scene.yoto)
    expect(token).not.toBe(before)
    await expectSignedIn(keeper, scene)
    const { expires_in = 0, expires_at = '' } = (await askToken(keeper)).body
    expect(expires_in).toBeGreaterThan(86_300)
    expect(Date.parse(expires_at) - Date.now() - offset).toBeGreaterThan(86_300_000)
    await letTimePass(keeper, scene.yoto)
    expect(scene.refreshes()).toHaveLength(sent + 1)
  }

  it.for([
    ['back', -DAY],
    ['forward', DAY],
  ] as const)(
    'is set %s a day and right again: a refresh each, and nobody is signed out',
    async ([, offset], context) => {
      const scene = await setSceneWithClock(context, 'valid')
      const keeper = await scene.startWithClock()
      await expectOneRefresh(keeper, scene, offset, () => scene.set(offset))
      await expectOneRefresh(keeper, scene, 0, () => scene.set(0))
      expect(scene.yoto.counts).toMatchObject({ refresh_ok: 2, refresh_refused: 0, revoked: 0 })
    },
  )

  it.for([
    ['back', -DAY],
    ['forward', DAY],
  ] as const)(
    'stands %s a day after a restart: the stored access token is not trusted',
    async ([, offset], context) => {
      const scene = await setSceneWithClock(context, 'valid')
      scene.set(offset)
      const keeper = await scene.startWithClock()
      const token = await expectWorkingToken(keeper, scene.yoto)
      expect(token).not.toBe(scene.first.access_token)
      await expectSignedIn(keeper, scene)
      expect(scene.refreshes()).toHaveLength(1)
      await keeper.stop()
      scene.set(0)
      const again = await scene.startWithClock()
      await expectSignedIn(again, scene)
      expect(await whoami(scene.yoto, (await askToken(again)).body.access_token)).toBe(200)
      expect(scene.yoto.counts).toMatchObject({ refresh_ok: 2, refresh_refused: 0 })
    },
  )

  it('is set back a day with Yoto away: it is said, and mended when Yoto is back', async (context) => {
    const scene = await setSceneWithClock(context, 'valid')
    const keeper = await scene.startWithClock()
    await scene.yoto.pause()
    scene.set(-DAY)
    await waitUntil(async () => (await askToken(keeper)).status === 503, { what: 'the token was not trusted' })
    expect(await askStatus(keeper)).toMatchObject({
      state: 'signed_in',
      authenticated: false,
      problem: 'yoto_unreachable',
    })
    await expectStored(scene.dir, `${scene.first.refresh_token}\n`)
    await scene.yoto.resume()
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes()).toHaveLength(1)
  })
})
