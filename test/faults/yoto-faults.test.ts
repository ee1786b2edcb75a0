import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { Keeper } from '../support/keeper-process'
import type { Fault } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'
import {
  arrivals,
  askReady,
  askStatus,
  askToken,
  changed,
  expectNoSecrets,
  expectSignedIn,
  expectStored,
  expectWorkingToken,
  FOR_REFRESH,
  lasting,
  letTimePass,
  refresh,
  type Scene,
  setScene,
  storedRecord,
  whoami,
  without,
} from './scene'

/**
 * What goes wrong at Yoto or on the way there, one test a fault: what a caller sees, what is on disk, how often Yoto was
 * asked, and that the sign-in outlives it wherever it can (DESIGN, rules 1, 5, 7, 9).
 */

type Code = 'yoto_unreachable' | 'yoto_timeout' | 'yoto_error'
const STATUS: Record<Code, number> = { yoto_unreachable: 503, yoto_timeout: 504, yoto_error: 502 }
const FIREWALL = '<html><h1>403 Forbidden</h1>Request blocked. Incident 7-42.</html>'

const status = (code: number, headers?: Record<string, string>, body?: string | Record<string, unknown>): Fault => ({
  kind: 'status',
  status: code,
  headers,
  body,
})
/**
 * While the fault lasts: who has no valid access token is told why, who has one goes on using it, and nothing stored is
 * touched.
 */
async function expectTrouble(
  scene: Scene,
  keeper: Keeper,
  access: 'valid' | 'expired',
  { code, problem }: { code: Code; problem: string },
): Promise<void> {
  const { dir, first } = scene
  if (access === 'expired') {
    expect(await askToken(keeper)).toMatchObject({ status: STATUS[code], body: { error: code } })
  } else {
    expect(await refresh(keeper)).toMatchObject({ status: STATUS[code], body: { error: code } })
    expect(await askToken(keeper)).toMatchObject({ status: 200, body: { access_token: first.access_token } })
  }
  expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in', authenticated: access === 'valid', problem })
  expect(await askReady(keeper)).toMatchObject({ status: 200, body: { ready: true } })
  await expectStored(dir, `${first.refresh_token}\n`)
  expectNoSecrets(keeper, scene)
}

describe.concurrent('Yoto has not rotated, but may have', () => {
  const REFUSED_HERE = 'http://127.0.0.1:9/'
  const table: [name: string, Fault, Code][] = [
    ['no answer within 5 seconds', { kind: 'timeout' }, 'yoto_timeout'],
    ['the connection is reset', { kind: 'reset-before' }, 'yoto_unreachable'],
    ['500', status(500), 'yoto_error'],
    ['503 without Retry-After', status(503), 'yoto_error'],
    ['HTML with 200', { kind: 'html-200' }, 'yoto_error'],
    ['a redirect (302)', { kind: 'redirect', location: REFUSED_HERE }, 'yoto_error'],
    ['a redirect that would repeat the form (307)', status(307, { location: REFUSED_HERE }), 'yoto_error'],
    ['10 MB of answer', { kind: 'huge' }, 'yoto_error'],
  ]

  it.for(table)('%s, once: it is asked again at once, and nobody notices', async ([, fault], context) => {
    const scene = await setScene(context, 'valid')
    const keeper = await scene.start()
    scene.yoto.inject(fault, FOR_REFRESH)
    expect(await refresh(keeper)).toMatchObject({ status: 200, body: { state: 'signed_in', authenticated: true } })
    expect(scene.refreshes()).toHaveLength(2)
    expect(scene.yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
    await expectSignedIn(keeper, scene)
  })

  it.for(table)('%s, for a while: nobody is signed out, and it mends itself', async ([, fault, code], context) => {
    const rehearse = async (access: 'valid' | 'expired') => {
      const scene = await setScene(context, access)
      const end = lasting(scene.yoto, fault)
      const keeper = await scene.start()
      await expectTrouble(scene, keeper, access, { code, problem: 'yoto_unreachable' })
      expect(storedRecord(scene.dir)).toMatchObject({ intent: { client_id: scene.yoto.clientId } })
      expect(scene.refreshes().length).toBeGreaterThanOrEqual(2)
      end()
      await expectSignedIn(keeper, scene)
      expect(scene.yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0, revoked: 0 })
    }
    await Promise.all([rehearse('valid'), rehearse('expired')])
  })

  it.for([301, 302, 303, 307, 308])(
    'a redirect (%i) is not followed: no token goes elsewhere',
    async (code, context) => {
      const since = performance.now()
      const elsewhere = createServer((_, response) => response.end()).listen(0, '127.0.0.1')
      context.onTestFinished(() => void elsewhere.close())
      await once(elsewhere, 'listening')
      const url = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`
      let connections = 0
      elsewhere.on('connection', () => connections++)

      const scene = await setScene(context, 'expired')
      const end = lasting(scene.yoto, status(code, { location: `${url}/oauth/token` }))
      const keeper = await scene.start()
      expect(await askToken(keeper)).toMatchObject({ status: 502, body: { error: 'yoto_error' } })
      end()
      await expectSignedIn(keeper, scene)
      expect(connections).toBe(0)
      expect(arrivals(url, '/oauth/token', since)).toEqual([])
    },
  )
})

describe.concurrent('Yoto says: not now', () => {
  it.for<[name: string, code: number, seconds: number, retryAfter: 'seconds' | 'date']>([
    ['503 with Retry-After', 503, 4, 'seconds'],
    ['429 with Retry-After', 429, 4, 'seconds'],
    ['503 with Retry-After as a date', 503, 15, 'date'], // longer than a start on a busy machine,
  ])('%s: it is not asked before, and then it is', async ([, code, seconds, format], context) => {
    const rehearse = async (access: 'valid' | 'expired') => {
      const scene = await setScene(context, access)
      const date = new Date(Math.floor(Date.now() / 1000 + seconds) * 1000)
      const value = format === 'date' ? date.toUTCString() : String(seconds)
      scene.yoto.inject(status(code, { 'retry-after': value }), FOR_REFRESH)
      const keeper = await scene.start()
      await expectTrouble(scene, keeper, access, { code: 'yoto_unreachable', problem: 'yoto_unreachable' })
      expect(await refresh(keeper)).toMatchObject({ status: 503, body: { error: 'yoto_unreachable' } })
      expect(storedRecord(scene.dir)).not.toHaveProperty('intent')
      expect(scene.refreshes()).toHaveLength(1)
      await expectSignedIn(keeper, scene)
      const [before = 0, after = 0] = scene.refreshes()
      const end = format === 'date' ? date.getTime() - performance.timeOrigin : before + seconds * 1000
      expect(after).toBeGreaterThan(end - 50) // the two processes' clocks are read a moment apart
      expect(scene.refreshes()).toHaveLength(2)
    }
    await Promise.all([rehearse('valid'), rehearse('expired')])
  })

  it('429 without a word: it is not asked again soon, whoever insists', async (context) => {
    const scene = await setScene(context, 'expired')
    lasting(scene.yoto, status(429))
    const keeper = await scene.start()
    const answer = await askToken(keeper)
    expect(answer).toMatchObject({ status: 503, body: { error: 'yoto_unreachable' } })
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(30)
    await letTimePass(keeper, scene.yoto)
    for (let i = 0; i < 5; i++) expect((await refresh(keeper)).status).toBe(503)
    expect(scene.refreshes()).toHaveLength(1)
    await expectStored(scene.dir, `${scene.first.refresh_token}\n`)
  })
})

describe.concurrent('Yoto answers about the client or the way there, not about the token', () => {
  it.for<[string, Fault, RegExp]>([
    ['403 HTML of a firewall', status(403, { 'content-type': 'text/html' }, FIREWALL), /blocks the request/],
    ['invalid_client', status(401, {}, { error: 'invalid_client' }), /YOTO_CLIENT_ID/],
    ['unauthorized_client', status(403, {}, { error: 'unauthorized_client' }), /Refresh Token/],
    ['404', status(404), /YOTO_AUTH_URL/],
  ])('%s: it says what to mend, asks no more, and a restart mends it', async ([, fault, mend], context) => {
    const rehearse = async (access: 'valid' | 'expired') => {
      const scene = await setScene(context, access)
      const end = lasting(scene.yoto, fault)
      let keeper = await scene.start()
      await expectTrouble(scene, keeper, access, { code: 'yoto_error', problem: 'misconfigured' })
      expect((await askStatus(keeper)).hint).toMatch(mend)
      expect((await refresh(keeper)).body.hint).toMatch(mend)
      expect(JSON.stringify((await askToken(keeper)).body)).not.toContain('Incident')
      if (access === 'expired') await letTimePass(keeper, scene.yoto)
      expect(scene.refreshes()).toHaveLength(1)
      expect(storedRecord(scene.dir)).not.toHaveProperty('intent')
      await keeper.stop()
      end()
      keeper = await scene.start()
      if (access === 'valid') await refresh(keeper)
      await expectSignedIn(keeper, scene)
      expect(scene.refreshes()).toHaveLength(2)
    }
    await Promise.all([rehearse('valid'), rehearse('expired')])
  })
})

describe.concurrent('Yoto answers oddly, but usably', () => {
  const hour = { from: 3_590, to: 3_600 }
  it.for<[string, Fault, { from: number; to: number }]>([
    ['no expires_in', without('expires_in'), hour],
    ["expires_in 'abc'", changed({ expires_in: 'abc' }), hour],
    ['expires_in -5', changed({ expires_in: -5 }), hour],
    ['expires_in 0', changed({ expires_in: 0 }), hour],
    ["expires_in '7200'", changed({ expires_in: '7200' }), { from: 7_190, to: 7_200 }],
    ['a scope that is a number', changed({ scope: 5 }), { from: 86_390, to: 86_400 }],
  ])('%s: the rotated token is kept, once', async ([, fault, lifetime], context) => {
    const scene = await setScene(context, 'expired')
    lasting(scene.yoto, fault)
    const keeper = await scene.start()
    await expectSignedIn(keeper, scene)
    const { body } = await askToken(keeper)
    expect(body.expires_in).toBeGreaterThanOrEqual(lifetime.from)
    expect(body.expires_in).toBeLessThanOrEqual(lifetime.to)
    await letTimePass(keeper, scene.yoto)
    expect(scene.refreshes()).toHaveLength(1)
    await keeper.stop()
    await expectSignedIn(await scene.start(), scene)
    expect(scene.refreshes()).toHaveLength(1)
  })

  it('no refresh_token: the old one is kept, byte for byte, and so is the new access token', async (context) => {
    const scene = await setScene(context, 'expired')
    const { yoto, dir, first } = scene
    yoto.inject(without('refresh_token'), FOR_REFRESH)
    const keeper = await scene.start()
    const token = await expectWorkingToken(keeper, yoto)
    expect(token).not.toBe(first.access_token)
    await expectStored(dir, `${first.refresh_token}\n`)
    await keeper.stop()
    const again = await scene.start()
    expect(await askToken(again)).toMatchObject({ status: 200, body: { access_token: token } })
    expect(await askStatus(again)).toMatchObject({ state: 'signed_in', authenticated: true })
    await expectStored(dir, `${first.refresh_token}\n`)
    expect(scene.refreshes()).toHaveLength(1)
  })
})

describe.concurrent('Yoto cannot be reached', () => {
  it('the name does not resolve: nothing is lost, and the right address mends it', async (context) => {
    const rehearse = async (access: 'valid' | 'expired') => {
      const scene = await setScene(context, access)
      let keeper = await scene.start({ YOTO_AUTH_URL: 'https://nowhere.invalid' })
      await expectTrouble(scene, keeper, access, { code: 'yoto_unreachable', problem: 'yoto_unreachable' })
      await keeper.stop()
      expect(storedRecord(scene.dir)).not.toHaveProperty('intent')
      expect(scene.refreshes()).toHaveLength(0)
      keeper = await scene.start()
      if (access === 'valid') expect((await refresh(keeper)).status).toBe(200)
      await expectSignedIn(keeper, scene)
      expect(scene.refreshes()).toHaveLength(1)
    }
    await Promise.all([rehearse('valid'), rehearse('expired')])
  })

  it('the connection is refused: it is tried again until somebody listens', async (context) => {
    const rehearse = async (access: 'valid' | 'expired') => {
      const scene = await setScene(context, access)
      await scene.yoto.pause()
      const keeper = await scene.start()
      await expectTrouble(scene, keeper, access, { code: 'yoto_unreachable', problem: 'yoto_unreachable' })
      await scene.yoto.resume()
      await expectSignedIn(keeper, scene)
      expect(scene.refreshes()).toHaveLength(1)
      expect(await whoami(scene.yoto, scene.first.access_token)).toBe(200)
    }
    await Promise.all([rehearse('valid'), rehearse('expired')])
  })

  it('the access token runs out meanwhile: callers hear it, and then get the next one', async (context) => {
    const scene = await setScene(context, 'expired', { expiresIn: 6 })
    const keeper = await scene.start()
    await expectSignedIn(keeper, scene)
    await scene.yoto.pause()
    await waitUntil(async () => (await askToken(keeper)).status === 503, { what: 'the token had run out' })
    expect((await askToken(keeper)).body).toMatchObject({ error: 'yoto_unreachable' })
    expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in', authenticated: false })
    await scene.yoto.resume()
    await expectSignedIn(keeper, scene)
    expect(scene.yoto.counts.refresh_refused).toBe(0)
  })
})
