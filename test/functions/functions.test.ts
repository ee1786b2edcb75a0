import { request as httpRequest, type RequestOptions } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, describe, expect, it } from 'vitest'
import { FOR_REFRESH, TOKEN, whoami } from '../faults/scene'
import { waitUntil } from '../support/wait-until'
import { type Deployed, entryOf, KEY, type Preset, type Scene, setScene, TOOL_KEY } from './scene'

// The built outputs for functions, in isolates that are frozen when they have answered.

const JOURNAL = '.yoto_journal.json'
const TOKEN_LEASE = '.yoto_token_lease'

/** What has been noted in the store by now, as `kind outcome`. */
async function noted({ stored }: Scene): Promise<string[]> {
  const events: { kind: string; outcome: string }[] = JSON.parse((await stored(JOURNAL)) ?? '[]')
  return events.map(({ kind, outcome }) => `${kind} ${outcome}`)
}

const presets: Preset[] = ['vercel', 'netlify', 'aws-lambda']

beforeAll(() => Promise.all(presets.map(entryOf)))

describe.each(presets)('%s', (preset) => {
  describe.concurrent('without what it needs', () => {
    it('starts without a store, lets nobody sign in, and says which variables to set', async (context) => {
      const scene = await setScene(context, preset, 'nobody')
      scene.store = {}
      const keeper = await scene.start()
      expect(await keeper.json('/api/health')).toMatchObject({ status: 200 })
      for (const [method, path] of [
        ['POST', '/api/auth/start'],
        ['GET', '/api/auth/login'],
        ['GET', '/api/auth/status'],
        ['GET', '/api/token'],
        ['POST', '/api/access/unlock'],
      ] as const) {
        const { status, body } = await keeper.json(path, { method })
        expect(status, path).toBe(503)
        expect(body.error).toBe('not_configured')
        expect(body.hint).toBe(
          'Set UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN, or REDIS_URL, and deploy again.',
        )
      }
      expect(await keeper.json('/api/ready')).toEqual({ status: 503, body: { ready: false, reason: 'not_configured' } })
      expect((await keeper.fetch('/')).status).toBe(200)
      expect(scene.yoto.counts.device).toBe(0)
    })

    it('answers 503 with every problem of its configuration, and lives', async (context) => {
      const scene = await setScene(context, preset, 'valid')
      const keeper = await scene.start({ TOKEN_REFRESH_INTERVAL_HOURS: '99', REDIS_URL: 'http://hush-hush' })
      for (const authorization of [`Bearer ${KEY}`, 'Bearer another-key']) {
        for (const path of ['/api/token', '/api/auth/status', '/api/yoto/v1/whoami', '/nothing/here']) {
          const { status, body } = await keeper.json(path, { headers: { authorization } })
          expect(status, path).toBe(503)
          expect(body.error).toBe('not_configured')
          expect(body.message).toContain('TOKEN_REFRESH_INTERVAL_HOURS must be a number of hours from 1 to 23')
          expect(body.message).toContain('REDIS_URL must be')
          expect(body.message).not.toContain('hush')
        }
      }
      expect(await keeper.json('/api/ready')).toEqual({ status: 503, body: { ready: false, reason: 'not_configured' } })
      expect(await keeper.json('/api/health')).toMatchObject({ status: 200 })
    })
  })

  describe.concurrent('on request', () => {
    it('refreshes ahead on the first call past its time, and is done with it when it answers', async (context) => {
      const scene = await setScene(context, preset, 'due')
      const { yoto, first, stored } = scene
      const keeper = await scene.start()
      const { body } = await keeper.json('/api/token')
      expect(body.access_token).not.toBe(first.access_token)
      expect(await whoami(yoto, body.access_token)).toBe(200)
      expect(yoto.counts.refresh_ok).toBe(1)
      expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
      expect(await stored(TOKEN_LEASE)).toBeNull()
      expect(await noted(scene)).toEqual(['start ok', 'refresh ok'])
      await keeper.json('/api/token')
      expect(yoto.counts.refresh_ok).toBe(1)
    })

    it('hands the current token out where a refresh ahead comes to nothing, and notes why', async (context) => {
      const scene = await setScene(context, preset, 'due')
      scene.yoto.inject({ kind: 'status', status: 503 }, { ...FOR_REFRESH, times: 1_000 })
      const keeper = await scene.start()
      expect((await keeper.json('/api/token')).body.access_token).toBe(scene.first.access_token)
      expect(await scene.stored(TOKEN_LEASE)).toBeNull()
      expect((await noted(scene)).at(-1)).toMatch(/^refresh (unknown|not_now)$/)
    })

    it('is examined by the doctor without a refresh, though one is due', async (context) => {
      const { yoto, start, redis } = await setScene(context, preset, 'due')
      const keeper = await start()
      const { body } = await keeper.json('/api/doctor')
      const found = body.checks.map(({ name, ok }: { name: string; ok: boolean }) => `${name} ${ok}`)
      const setUp = ['platform true', 'client_id true', 'keeper_key true', 'public_url false', 'writable true']
      expect(found).toEqual([...setUp, 'yoto_login true', 'yoto_api true', 'clock true', 'sign_in true', 'scope true'])
      expect(body.checks[0].message).toContain(preset)
      expect(yoto.counts).toMatchObject({ refresh_ok: 0, refresh_refused: 0 })
      expect(await redis.client.keys('*doctor*')).toEqual([])
      await keeper.json('/api/token')
      expect(yoto.counts.refresh_ok).toBe(1)
    })

    it('says of a Redis that forgets that it does, and asks it only for that', async (context) => {
      const scene = await setScene(context, preset, 'valid')
      scene.store = { REDIS_URL: scene.redis.url }
      const questions = async () =>
        /cmdstat_(info|config\|get|waitaof):/.test(await scene.redis.client.info('commandstats'))
      await scene.redis.client.config('RESETSTAT')
      const keeper = await scene.start()
      await keeper.json('/api/token')
      expect(await questions()).toBe(false)
      const { body } = await keeper.json('/api/auth/status')
      expect(body).toMatchObject({
        problem: 'not_durable',
        storage: { persistent: false, warning: expect.stringContaining('in memory only') },
      })
      await scene.redis.client.config('RESETSTAT')
      await keeper.json('/api/token')
      await keeper.json('/api/auth/status') // it is known
      expect(await questions()).toBe(false)
    })

    it('begins no refresh that it could not wait for', async (context) => {
      const { yoto, start, stored } = await setScene(context, preset, 'expired')
      const keeper = await start()
      for (const path of [
        '/',
        '/style.css',
        '/client/ask.js',
        '/api/health',
        `/api/auth/callback?state=${'0'.repeat(32)}&code=none`,
      ]) {
        await (await keeper.fetch(path)).text()
      }
      expect(await stored(TOKEN_LEASE)).toBeNull()
      expect(yoto.counts.refresh_ok).toBe(0)
      expect(await keeper.json('/api/ready')).toMatchObject({ status: 200 })
      expect(await stored(TOKEN_LEASE)).toBeNull()
      expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
      expect(yoto.counts.refresh_ok).toBe(1)
    })

    it('takes no command of the store for a token that is known', async (context) => {
      const { upstash, start } = await setScene(context, preset, 'valid')
      const keeper = await start()
      await keeper.json('/api/token')
      const warm = upstash.count
      for (let i = 0; i < 25; i++) {
        const authorization = `Bearer ${i % 2 ? KEY : TOOL_KEY}`
        expect(await keeper.json('/api/token', { headers: { authorization } })).toMatchObject({ status: 200 })
      }
      expect(upstash.count - warm).toBe(0)
    })

    it('asks Yoto how a sign-in stands when the page asks, at Yoto’s pace, and never between', async (context) => {
      const scene = await setScene(context, preset, 'nobody', { interval: 2 })
      const { yoto, start } = scene
      const keeper = await start()
      expect((await keeper.json('/api/auth/status')).body.unattended).toBe(false)
      const { body } = await keeper.post('/api/auth/start')
      const poll = async () => (await keeper.post('/api/auth/poll', { device_code: body.device_code })).body
      await waitUntil(async () => (await poll()).status === 'pending' && yoto.counts.polls === 3, {
        what: 'three polls',
      })
      await sleep(2_500)
      expect(yoto.counts.polls).toBe(3)
      yoto.approve(body.user_code)
      await waitUntil(async () => (await poll()).status === 'success', { what: 'the sign-in had succeeded' })
      for (const [at, time] of yoto.pollTimes.slice(1).entries()) {
        expect(time - (yoto.pollTimes[at] ?? 0)).toBeGreaterThan(1_950)
      }
      expect((await noted(scene)).slice(1)).toEqual(['sign_in begun', 'sign_in success'])
      const status = (await keeper.json('/api/auth/status')).body
      expect(status.message).toBe('Signed in to Yoto; the token is renewed when it is asked for.')
    })

    it('refreshes by the external clock’s call', async (context) => {
      const { yoto, start, stored } = await setScene(context, preset, 'valid')
      const keeper = await start()
      expect(await keeper.post('/api/auth/refresh')).toMatchObject({ status: 200, body: { authenticated: true } })
      expect(yoto.counts.refresh_ok).toBe(1)
      expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
    })
  })

  describe.concurrent('in several isolates', () => {
    it('knows at once of a sign-in in another one', async (context) => {
      const { yoto, start } = await setScene(context, preset, 'nobody')
      const [one, other] = await Promise.all([start(), start()])
      expect(await other.json('/api/token')).toMatchObject({ status: 409, body: { error: 'signed_out' } })
      await signIn(one, yoto)
      expect(await other.json('/api/token')).toMatchObject({ status: 200 })
      expect((await other.json('/api/auth/status')).body.state).toBe('signed_in')
    })

    it('finishes a sign-in that another one has begun', async (context) => {
      const { yoto, start } = await setScene(context, preset, 'nobody')
      const [one, other] = await Promise.all([start(), start()])
      await other.json('/api/auth/status')
      const { body } = await one.post('/api/auth/start')
      await one.restart()
      yoto.approve(body.user_code)
      const poll = async () => (await other.post('/api/auth/poll', { device_code: body.device_code })).body.status
      await waitUntil(async () => (await poll()) === 'success', { what: 'the sign-in had succeeded' })
      expect(await one.json('/api/token')).toMatchObject({ status: 200 })
    })

    /** Each look at the store costs, with Upstash even money: once in 5 seconds, and in 50. */
    it.for([['Redis', 10_000], ...(preset === 'aws-lambda' ? [['Upstash', 60_000] as const] : [])] as const)(
      'knows of a sign-out in another one: on %s within %i ms',
      async ([store, timeout], context) => {
        const scene = await setScene(context, preset, 'valid')
        if (store === 'Redis') scene.store = { REDIS_URL: scene.redis.url }
        const [one, other] = await Promise.all([scene.start(), scene.start()])
        expect(await other.json('/api/token')).toMatchObject({ status: 200 })
        expect((await one.post('/api/auth/logout')).body.success).toBe(true)
        const began = performance.now()
        const isSignedOut = async () => (await other.json('/api/token')).status === 409
        await waitUntil(isSignedOut, { what: 'the other one knew of the sign-out', timeout })
        const seconds = ((performance.now() - began) / 1000).toFixed(1)
        process.stdout.write(`${preset}: a sign-out elsewhere was known after ${seconds} s on ${store}\n`)
      },
    )
  })

  describe.concurrent('writes before it answers', () => {
    it('that a sign-in in the browser was begun, and how it ended', async (context) => {
      const scene = await setScene(context, preset, 'nobody')
      const keeper = await scene.start()
      const begun = await keeper.fetch('/api/auth/login')
      expect((await noted(scene)).at(-1)).toBe('sign_in begun')
      const cookie = begun.headers.getSetCookie()[0]?.split(';')[0] ?? ''
      const state = new URL(begun.headers.get('location') ?? '').searchParams.get('state')
      const back = await keeper.fetch(`/api/auth/callback?state=${state}&error=access_denied`, {
        headers: { cookie: `other=1; ${cookie}; more=2` },
      })
      expect(back.headers.get('location')).toBe('/#sign-in=denied')
      expect((await noted(scene)).at(-1)).toBe('sign_in denied')
    })

    it('that keys are being guessed', async (context) => {
      const scene = await setScene(context, preset, 'nobody')
      const keeper = await scene.start()
      for (let i = 0; i < 10; i++) expect(await guess(keeper)).toBe(401)
      expect(await guess(keeper)).toBe(429)
      expect((await noted(scene)).at(-1)).toBe('access refused')
    })

    it('that Yoto’s API had refused a token', async (context) => {
      const scene = await setScene(context, preset, 'valid')
      scene.yoto.inject({ kind: 'status', status: 401 }, { path: '/v1/whoami' })
      const keeper = await scene.start()
      expect(await keeper.json('/api/yoto/v1/whoami')).toMatchObject({ status: 200 })
      expect((await noted(scene)).at(-1)).toBe('refresh ok')
    })
  })

  it('counts guesses by the address that the platform tells, and by no other', async (context) => {
    const { start } = await setScene(context, preset, 'nobody')
    const keeper = await start()
    const forged = (at: number) =>
      Object.fromEntries(
        ['x-real-ip', 'x-forwarded-for', 'x-vercel-forwarded-for', 'x-nf-client-connection-ip'].map((name) => [
          name,
          `192.0.2.${at}`,
        ]),
      )
    for (let i = 0; i < 10; i++)
      expect(await guess(keeper, { localAddress: '127.0.0.2', headers: forged(i) })).toBe(401)
    expect(await guess(keeper, { localAddress: '127.0.0.2', headers: forged(99) })).toBe(429)
    expect(await guess(keeper, { localAddress: '127.0.0.3' })).toBe(401)
  })
})

async function signIn(keeper: Deployed, yoto: Scene['yoto']): Promise<void> {
  const { body } = await keeper.post('/api/auth/start')
  yoto.approve(body.user_code)
  const poll = async () => (await keeper.post('/api/auth/poll', { device_code: body.device_code })).body.status
  await waitUntil(async () => (await poll()) === 'success', { what: 'the sign-in had succeeded' })
}

/** A wrong key is shown; the status of the answer. */
function guess(keeper: Deployed, options: RequestOptions = {}): Promise<number> {
  const headers = { ...options.headers, authorization: 'Bearer not-the-key-0123456789' } as Record<string, string>
  return new Promise((resolve, reject) => {
    httpRequest(`${keeper.url}/api/token`, { ...options, headers }, (answer) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    })
      .on('error', reject)
      .end()
  })
}
