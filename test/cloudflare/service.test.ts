import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { PAGE_FILES } from '../../server/page/files'
import { readWranglerConfig } from '../platforms/cloudflare-durable'
import { startApiServer } from '../support/api-server'
import { startAuthorizationServer } from '../support/authorization-server'
import { freePort } from '../support/keeper-process'
import { type StandInOptions, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'
import { buildForCloudflare, count, envFor, KEY, type Keeper, newFolder, signIn, startKeeper } from './keeper'

// The output of the preset cloudflare-durable in workerd: what is different there from a process that runs on.

const REFRESH = { grant_type: 'refresh_token' }

let built: string
beforeAll(async () => {
  built = await buildForCloudflare()
})

async function setScene(options: StandInOptions = {}) {
  const yoto = await startStandIn({ interval: 1, ...options })
  onTestFinished(() => yoto.stop())
  return yoto
}

async function signedIn(options: StandInOptions = {}, env: Record<string, string> = {}) {
  const yoto = await setScene(options)
  const cwd = newFolder()
  const keeper = await startKeeper({ ...envFor(yoto), ...env }, cwd)
  await signIn(keeper, yoto.approve)
  return { yoto, keeper, cwd }
}

/** Everything that lies in the object's storage. */
function stored(cwd: string): string {
  const folder = join(cwd, 'durable-objects')
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return files.map((file) => readFileSync(join(file.parentPath, file.name), 'latin1')).join()
}

async function tokenOf(keeper: Keeper): Promise<string> {
  const { status, body } = await keeper.json<{ access_token: string }>('/api/token')
  expect(status).toBe(200)
  return body.access_token
}

describe('signing in', () => {
  it('by code at a real authorization server, polled with nobody asking, and kept over a restart', async () => {
    const yoto = await startAuthorizationServer({ interval: 1 })
    onTestFinished(() => yoto.stop())
    const keeper = await startKeeper(envFor(yoto))
    await signIn(keeper, (code) => yoto.approve(code, 'parent'))
    const polls = yoto.requests.filter(({ path }) => path === '/oauth/token')
    for (const [at, { at: time }] of polls.slice(1).entries()) {
      expect(time - (polls[at]?.at ?? 0), 'at the pace that was asked for').toBeGreaterThan(950)
    }

    const whoami = async () => (await keeper.json('/api/yoto/v1/whoami')).body
    expect(await whoami()).toMatchObject({ sub: 'parent' })
    await keeper.restart()
    expect(await whoami()).toMatchObject({ sub: 'parent' })
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({
      state: 'signed_in',
      storage: { place: 'a Cloudflare Durable Object', persistent: true },
    })
    expect(yoto.refreshes).toBe(0)
  })

  it('in the browser', async () => {
    const port = await freePort()
    const keeper = await startKeeper(envFor({ url: `http://127.0.0.1:${port}`, clientId: 'test-client' }))
    const yoto = await startAuthorizationServer({ port, redirectUris: [`${keeper.url}/api/auth/callback`] })
    onTestFinished(() => yoto.stop())
    const edge = { 'x-forwarded-proto': 'https' }
    const begun = await keeper.fetch('/api/auth/login', { headers: edge })
    expect(begun.status).toBe(302)
    const cookie = begun.headers.getSetCookie()[0] ?? ''
    expect(cookie).toMatch(/; HttpOnly; Secure; SameSite=Lax$/)
    const back = await yoto.signIn(begun.headers.get('location') ?? '', 'parent')
    const ended = await fetch(`${keeper.url}/api/auth/callback${back.search}`, {
      redirect: 'manual',
      headers: { ...edge, cookie: cookie.split(';')[0] ?? '' },
    })
    expect([ended.status, ended.headers.get('location')]).toEqual([302, '/#sign-in=success'])
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ state: 'signed_in', account: 'parent' })
  })

  it('is polled on after a restart, and a refusal ends it', async () => {
    const yoto = await setScene()
    const keeper = await startKeeper(envFor(yoto))
    const { body } = await keeper.json<{ user_code: string }>('/api/auth/start', { method: 'POST' })
    await keeper.restart()
    await keeper.json('/api/auth/status') // locally an alarm is not heard of before its object is asked something
    yoto.deny(body.user_code)
    await waitUntil(() => keeper.log().includes('sign_in access_denied'), { what: 'the refusal was heard of' })
    const { polls } = yoto.counts
    await sleep(2_500)
    expect(yoto.counts.polls).toBe(polls)
  })
})

describe('the alarm', () => {
  it('refreshes ahead, with nobody asking', async () => {
    const { yoto } = await signedIn({ expiresIn: 4 })
    await waitUntil(() => yoto.counts.refresh_ok >= 4, { what: 'four refreshes', timeout: 20_000 })
    expect(yoto.counts).toMatchObject({ refresh_refused: 0, refresh_reused: 0 })
  })

  it('refreshes ahead in an object that had been put away meanwhile', async () => {
    const { yoto, keeper } = await signedIn({ expiresIn: 32 }) // workerd puts an idle one away after 10 to 20 s
    await waitUntil(() => yoto.counts.refresh_ok >= 1, { what: 'a refresh', timeout: 45_000 })
    expect(count(keeper, 'start ok'), 'the alarm has started it anew, in the same memory').toBe(2)
    expect(yoto.counts).toMatchObject({ refresh_refused: 0, refresh_reused: 0 })
  })

  it('goes on trying while Yoto is away, and goes on when it is back', async () => {
    const { yoto, keeper } = await signedIn({ expiresIn: 4 })
    await yoto.pause()
    // workerd does not tell a connection that was never made from one that broke.
    const attempts = () => count(keeper, 'Trying again at once')
    await waitUntil(() => attempts() >= 3, { what: 'three attempts', timeout: 20_000 })
    expect(await keeper.json('/api/token')).toMatchObject({ status: 503, body: { error: 'yoto_unreachable' } })
    const { refresh_ok } = yoto.counts
    await yoto.resume()
    await waitUntil(() => yoto.counts.refresh_ok > refresh_ok + 1, { what: 'it was refreshed', timeout: 20_000 })
    await tokenOf(keeper)
  })

  it('takes up what a failed request has left to do', async () => {
    const { yoto, keeper } = await signedIn()
    await sleep(10_000) // before, the sign-in is answer enough
    await yoto.pause()
    expect(await keeper.json('/api/auth/refresh', { method: 'POST' })).toMatchObject({ status: 503 })
    await yoto.resume()
    await waitUntil(() => yoto.counts.refresh_ok === 1, { what: 'it was refreshed' })
  })

  it('keeps nobody waiting while it refreshes ahead', async () => {
    const { yoto, keeper } = await signedIn({ expiresIn: 12 })
    const hold = yoto.hold(REFRESH)
    await hold.reached
    const began = performance.now()
    await tokenOf(keeper)
    expect(performance.now() - began).toBeLessThan(1_000)
    hold.release()
  })

  it('repeats a refresh whose answer was lost', async () => {
    const { yoto, keeper } = await signedIn({ expiresIn: 6, leewayMs: 10_000 })
    yoto.inject({ kind: 'reset-after' }, REFRESH)
    await waitUntil(() => count(keeper, 'refresh ok') >= 1, { what: 'it was refreshed' })
    expect(yoto.counts.refresh_reused).toBe(0)
  })

  it('ends with a refusal, and tells the owner', async () => {
    const owner = await startApiServer()
    onTestFinished(() => owner.stop())
    const { yoto, keeper } = await signedIn({ expiresIn: 4 }, { NOTIFY_URL: `${owner.url}/topic` })
    yoto.inject({ kind: 'status', status: 403, body: { error: 'invalid_grant' } }, { ...REFRESH, times: 100 })
    await waitUntil(() => owner.arrivals.length > 0, { what: 'the owner was told' })
    await waitUntil(async () => (await keeper.json('/api/token')).status === 409, { what: 'the token had run out' })
    expect((await keeper.json('/api/token')).body).toMatchObject({ error: 'needs_sign_in' })
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ state: 'needs_sign_in' })
    await sleep(3_000)
    expect(count(keeper, 'refresh refused'), 'a refused token is not sent again').toBe(1)
    expect(owner.arrivals).toHaveLength(1)
  })
})

describe('the object', () => {
  it('makes one refresh for two hundred calls at the end of a token', async () => {
    const { yoto, keeper, cwd } = await signedIn({ expiresIn: 3 })
    await keeper.stop() // no alarm comes first
    await sleep(3_000)
    const again = await startKeeper(envFor(yoto), cwd)
    const { refresh_ok } = yoto.counts
    const hold = yoto.hold(REFRESH)
    const calls = Array.from({ length: 200 }, () => tokenOf(again))
    await hold.reached
    await sleep(500)
    hold.release()
    const tokens = await Promise.all(calls)
    expect(new Set(tokens).size).toBe(1)
    expect(yoto.counts.refresh_ok).toBe(refresh_ok + 1)
    expect(yoto.counts.refresh_refused).toBe(0)
  })

  it('is not needed for the page, and is the only one to start the service', async () => {
    const keeper = await startKeeper()
    for (const path of [...PAGE_FILES, '/api/health', '/']) {
      expect((await fetch(keeper.url + path)).status).toBe(200)
    }
    await sleep(200)
    expect(keeper.log()).not.toContain('start ok')
    await Promise.all(Array.from({ length: 20 }, () => keeper.fetch('/api/auth/status')))
    expect(count(keeper, 'start ok')).toBe(1)
  })

  it('signs out', async () => {
    const { yoto, keeper } = await signedIn()
    const refreshToken = yoto.currentRefreshToken()
    expect(await keeper.json('/api/auth/logout', { method: 'POST' })).toMatchObject({ body: { success: true } })
    expect(yoto.isRevoked(refreshToken)).toBe(true)
    await keeper.restart()
    expect(await keeper.json('/api/token')).toMatchObject({ status: 409, body: { error: 'signed_out' } })
  })

  it('keeps nothing in the clear with an encryption key, and reads it after a restart', async () => {
    const plain = await signedIn()
    expect(stored(plain.cwd)).toContain(plain.yoto.currentRefreshToken())

    const { yoto, keeper, cwd } = await signedIn({}, { KEEPER_ENCRYPTION_KEY: 'k'.repeat(32) })
    const token = await tokenOf(keeper)
    await keeper.restart()
    expect(await tokenOf(keeper)).toBe(token)
    expect(stored(cwd)).toContain('.yoto_refresh_token')
    expect(stored(cwd)).not.toContain(yoto.currentRefreshToken())
    expect(stored(cwd)).not.toContain(token)
  })
})

it('is examined by its doctor', async () => {
  const { keeper } = await signedIn({}, { PUBLIC_URL: 'https://keeper.example' })
  const { body } = await keeper.json<{ checks: { name: string; ok: boolean; message: string }[] }>('/api/doctor')
  expect(body.checks.filter(({ ok }) => !ok)).toEqual([])
  const names = body.checks.map(({ name }) => name)
  const setUp = ['platform', 'client_id', 'keeper_key', 'public_url', 'writable']
  expect(names).toEqual([...setUp, 'yoto_login', 'yoto_api', 'clock', 'sign_in', 'scope'])
  expect(body.checks[0]?.message).toBe('cloudflare-durable on workerd; kept in a Cloudflare Durable Object.')
})

describe('access', () => {
  it('makes a key where none is set, and prints its link until it has been used', async () => {
    const keeper = await startKeeper({ KEEPER_KEY: '', PUBLIC_URL: 'https://keeper.example' })
    const status = (key: string) => keeper.fetch('/api/auth/status', { headers: { authorization: `Bearer ${key}` } })
    expect((await status('a-wrong-key-0123456789')).status).toBe(401)
    const link = await waitUntil(() => /https:\/\/keeper\.example\/#key=(\S+)/.exec(keeper.log()), { what: 'the link' })
    const key = link[1] ?? ''
    expect(key).toMatch(/^[0-9a-f]{64}$/)
    await keeper.restart()
    expect((await status('a-wrong-key-0123456789')).status).toBe(401)
    await waitUntil(() => count(keeper, key) === 2, { what: 'the same link' })
    expect((await status(key)).status).toBe(200)
    await keeper.restart()
    expect((await status(key)).status).toBe(200)
    await sleep(200)
    expect(count(keeper, key)).toBe(2)
  })

  it('counts wrong keys by the address that the edge names', async () => {
    const keeper = await startKeeper()
    const guess = async (address: string) => {
      const headers = { authorization: 'Bearer a-wrong-key-0123456789', 'cf-connecting-ip': address }
      return (await keeper.fetch('/api/token', { headers })).status
    }
    for (let wrong = 0; wrong < 10; wrong++) expect(await guess('192.0.2.1')).toBe(401)
    expect(await guess('192.0.2.1')).toBe(429)
    expect(await guess('192.0.2.2')).toBe(401)
    expect((await keeper.fetch('/api/journal', { headers: { 'cf-connecting-ip': '192.0.2.1' } })).status).toBe(200)
  })

  it('holds browsers to their origin', async () => {
    const keeper = await startKeeper({ PUBLIC_URL: 'https://keeper.example' })
    const unlocked = await keeper.fetch('/api/access/unlock', {
      method: 'POST',
      headers: { authorization: '', 'content-type': 'application/json' },
      body: JSON.stringify({ key: KEY }),
    })
    expect(unlocked.status).toBe(200)
    const cookie = unlocked.headers.getSetCookie()[0]?.split(';')[0] ?? ''
    const status = async (headers: Record<string, string>) =>
      (await keeper.json('/api/auth/status', { headers: { authorization: '', cookie, ...headers } })).status
    expect(await status({ origin: keeper.url })).toBe(200)
    expect(await status({ origin: 'https://elsewhere.example' })).toBe(403)
    expect(await status({ 'sec-fetch-site': 'cross-site' })).toBe(403)
    expect(await status({ cookie: '' })).toBe(401)
  })

  it('answers the question that a browser asks before it calls from the other origin', async () => {
    const keeper = await startKeeper({ CORS_ORIGIN: 'https://tool.example' })
    const asked = async (origin: string) => {
      const headers = { authorization: '', origin, 'access-control-request-method': 'GET' }
      const answer = await keeper.fetch('/api/token', { method: 'OPTIONS', headers })
      return [answer.status, answer.headers.get('access-control-allow-origin')]
    }
    expect(await asked('https://tool.example')).toEqual([204, 'https://tool.example'])
    expect(await asked('https://elsewhere.example')).toEqual([403, null])
  })

  it('has one shape for what goes wrong', async () => {
    const keeper = await startKeeper(envFor({ url: 'http://127.0.0.1:9', clientId: 'test-client' }))
    const cases: [method: string, path: string, status: number, error: string, body?: string][] = [
      ['GET', '/api/nothing', 404, 'not_found'],
      ['POST', '/api/token', 405, 'method_not_allowed'],
      ['POST', '/', 405, 'method_not_allowed'],
      ['POST', '/api/auth/poll', 400, 'bad_request', '{'],
      ['POST', '/api/auth/poll', 413, 'too_large', 'x'.repeat(20_000)],
      ['POST', '/api/auth/poll', 404, 'not_found', JSON.stringify({ device_code: '0'.repeat(32) })],
      ['POST', '/api/auth/start', 503, 'yoto_unreachable'],
      ['GET', '/api/token', 409, 'signed_out'],
      ['GET', '/api/token?min_ttl=x', 400, 'bad_request'],
      ['GET', '/api/yoto/v1/whoami', 409, 'signed_out'],
    ]
    for (const [method, path, status, error, body] of cases) {
      const answer = await keeper.fetch(path, { method, body })
      const { hint, ...rest } = await answer.json()
      expect({ status: answer.status, ...rest }, path).toEqual({ status, error, message: expect.any(String) })
      expect(['string', 'undefined']).toContain(typeof hint)
      expect(answer.headers.get('content-type')).toBe('application/json')
      expect(answer.headers.get('cache-control')).toBe('no-store')
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
      expect(answer.headers.get('keeper-error')).toBe(error)
    }
  })

  it.each([
    ['a wrong value', { TOKEN_REFRESH_INTERVAL_HOURS: '99' }, 'TOKEN_REFRESH_INTERVAL_HOURS'],
    ['two', { KEEPER_KEY: 'short', YOTO_AUTH_URL: 'http://yoto.example' }, 'YOTO_AUTH_URL'],
  ])('answers 503 everywhere but on the page where the configuration has %s', async (_, env, name) => {
    const keeper = await startKeeper(env)
    for (const path of ['/api/token', '/api/auth/status', '/api/yoto/v1/whoami', '/api/nothing', '/docs']) {
      const { status, body } = await keeper.json(path)
      expect({ status, ...body }).toMatchObject({ status: 503, error: 'not_configured', message: expect.any(String) })
      expect(body.message).toContain(name)
    }
    expect(await keeper.json('/api/ready')).toEqual({ status: 503, body: { ready: false, reason: 'not_configured' } })
    for (const path of ['/', '/api/health']) expect((await keeper.fetch(path)).status).toBe(200)
    expect(keeper.log()).toContain(name)
  })
})

describe('what is built', () => {
  it('says to wrangler all that Cloudflare has to know', () => {
    expect(readWranglerConfig(built)).toMatchObject({
      name: 'yoto-token-keeper',
      main: 'index.mjs',
      compatibility_date: '2026-03-01',
      compatibility_flags: expect.arrayContaining(['nodejs_compat']),
      durable_objects: { bindings: [{ name: '$DurableObject', class_name: '$DurableObject' }] },
      migrations: [{ tag: 'v1', new_sqlite_classes: ['$DurableObject'] }],
    })
    expect(existsSync(join(built, '.output/public')), 'the folder of assets').toBe(true)
  })

  it('holds nothing that is for other platforms', () => {
    const folder = join(built, '.output/server')
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.mjs'))
    const code = names.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n')
    const modules = new Set(code.match(/(?<=["'])node:[\w/]+(?=["'])/g))
    const needed = ['node:buffer', 'node:crypto', 'node:events', 'node:process', 'node:timers']
    expect([...modules].sort()).toEqual(needed)
    const others = ['durable-files', 'heartbeat', 'ioredis', 'redis.call', '/pipeline'].filter((part) =>
      code.includes(part),
    )
    expect(others).toEqual([])
    expect(code.includes('in the Durable Object')).toBe(true)
    const size = names.reduce((sum, name) => sum + gzipSync(readFileSync(join(folder, name))).length, 0)
    console.log(`cloudflare-durable: ${(size / 1024).toFixed(0)} kB gzip in ${names.length} modules`)
  })
})
