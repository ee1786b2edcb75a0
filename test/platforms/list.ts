import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
  request,
  type ServerResponse,
} from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { expect } from 'vitest'
import { type ApiServer, startApiServer } from '../support/api-server'
import { startAuthorizationServer } from '../support/authorization-server'
import { startRedis } from '../support/redis'
import { type StandIn, type StandInOptions, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'
import type { Running } from './platform'

export type Need = 'files' | 'signals' | 'peer' | 'streams' | 'departures'

/**
 * What every platform must do, over HTTP and nothing else. Each check starts the output with a store of its own and leaves nothing
 * to the next.
 */
export interface Check {
  name: string
  /**
   * What only some platforms have: state in files; a process that is told to end; the address of the socket's other end; answers that
   * are not handed over whole; word of a caller that has gone.
   */
  needs?: Need
  /** May return a remark for the table: what it found, where platforms may differ. */
  run(start: Start): Promise<string | undefined> | Promise<void>
}

/** Starts the platform's output; ended by the runner. */
export type Start = (env: Record<string, string>, onEnd?: () => unknown) => Promise<Running>

const OWNER = 'owner-key-0123456789'
const TOOL = 'tool-key-0123456789'
/** A name of its own, as behind a front that speaks TLS: so the address to come back to is known before there is a port. */
const PUBLIC_HOST = 'keeper.example'
const FOR_REFRESH = { grant_type: 'refresh_token' }
const MB = 1024 * 1024

export const CHECKS: Check[] = [
  // --- what is open to all ------------------------------------------------------------------------------------------
  {
    name: 'health and ready',
    async run(start) {
      const { at } = await begin(start)
      expect(await json(at, '/api/health', { key: '' })).toEqual({ status: 200, body: { status: 'ok' } })
      expect(await json(at, '/api/health', { key: '', headers: { host: 'any.example' } })).toMatchObject({
        status: 200,
      })
      expect(await json(at, '/api/ready', { key: '' })).toEqual({ status: 200, body: { ready: true } })
    },
  },
  {
    name: 'the page and its files',
    async run(start) {
      const { at } = await begin(start)
      for (const [path, type, part] of [
        ['/', 'text/html', '<script'],
        ['/style.css', 'text/css', '{'],
        ['/client.js', 'text/javascript', './client/ask.js'],
        ['/client/ask.js', 'text/javascript', 'fetch'],
      ] as const) {
        const { status, headers, text } = await send(at, path, { key: '' })
        expect(status).toBe(200)
        expect(headers['content-type']).toContain(type)
        expect(headers['content-security-policy']).toContain("default-src 'none'")
        expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' })
        expect(text).toContain(part)
        const packed = await send(at, path, { key: '', headers: { 'accept-encoding': 'gzip' } })
        const isPacked = packed.headers['content-encoding'] === 'gzip'
        expect(isPacked ? gunzipSync(packed.bytes).toString() : packed.text).toBe(text)
        const again = await send(at, path, { key: '', headers: { 'if-none-match': String(headers.etag) } })
        expect([again.status, again.text]).toEqual([304, ''])
      }
    },
  },
  {
    name: '/docs and /_openapi.json',
    async run(start) {
      const { at } = await begin(start)
      expect((await send(at, '/docs')).headers['content-type']).toContain('text/html')
      const { body } = await json<{ openapi: string; paths: object }>(at, '/_openapi.json')
      expect(body.openapi).toBe('3.1.0')
      expect(Object.keys(body.paths)).toContain('/api/token')
      for (const path of ['/docs', '/_openapi.json']) expect((await send(at, path, { key: '' })).status).toBe(401)
    },
  },

  {
    name: 'a wrong value, and nobody gets in',
    async run(start) {
      const wrong = { ...KEYS, YOTO_CLIENT_ID: 'any', TOKEN_REFRESH_INTERVAL_HOURS: 'often' }
      const at = await start(wrong).catch((error: Error) => error)
      if (at instanceof Error) {
        expect(at.message).toMatch(/ended before.*TOKEN_REFRESH_INTERVAL_HOURS/s)
        return 'stops the start'
      }
      expect(await json(at, '/api/token')).toMatchObject({ status: 503, body: { error: 'not_configured' } })
      return 'every answer is 503'
    },
  },

  // --- signing in and out -------------------------------------------------------------------------------------------
  {
    name: 'sign-in with a code',
    async run(start) {
      const yoto = await startAuthorizationServer({ interval: 1 })
      const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url }
      const at = await start({ ...KEYS, ...env }, yoto.stop)
      const begun = await json<{ user_code: string; device_code: string }>(at, '/api/auth/start', { method: 'POST' })
      expect(begun.status).toBe(200)
      const poll = () =>
        json<{ status: string }>(at, '/api/auth/poll', { body: { device_code: begun.body.device_code } })
      expect((await poll()).body).toMatchObject({ status: 'pending' })
      await yoto.approve(begun.body.user_code, 'parent')
      // Once a second as the page does: on functions nothing else drives it.
      await waitUntil(
        async () => {
          await sleep(1_000)
          return (await poll()).body.status === 'success'
        },
        { timeout: 30_000, what: 'the sign-in had succeeded' },
      )
      expect((await json(at, '/api/auth/status')).body).toMatchObject({ state: 'signed_in', account: 'parent' })
      const { body } = await json<{ access_token: string }>(at, '/api/token')
      const authorization = `Bearer ${body.access_token}`
      expect((await fetch(`${yoto.url}/v1/whoami`, { headers: { authorization } })).status).toBe(200)
    },
  },
  {
    name: 'sign-in in the browser',
    async run(start) {
      const yoto = await startAuthorizationServer({ redirectUris: [`https://${PUBLIC_HOST}/api/auth/callback`] })
      const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, PUBLIC_URL: `https://${PUBLIC_HOST}` }
      const at = await start({ ...KEYS, ...env }, yoto.stop)
      const headers = { host: PUBLIC_HOST }
      const unlocked = await send(at, '/api/access/unlock', { key: '', headers, body: { key: OWNER } })
      expect(unlocked.status).toBe(200)
      const session = cookieOf(unlocked)
      const begun = await send(at, '/api/auth/login', { key: '', headers: { ...headers, cookie: session } })
      expect(begun.status).toBe(302)
      const back = await yoto.signIn(begun.headers.location ?? '', 'parent')
      expect(back.origin + back.pathname).toBe(`https://${PUBLIC_HOST}/api/auth/callback`)
      const come = (cookie: string) =>
        send(at, back.pathname + back.search, { key: '', headers: { ...headers, cookie } })
      expect((await come('')).headers.location).toBe('/#sign-in=unexpected')
      expect((await come(cookieOf(begun))).headers.location).toBe('/#sign-in=success')
      const status = await json(at, '/api/auth/status', { key: '', headers: { ...headers, cookie: session } })
      expect(status.body).toMatchObject({ state: 'signed_in', account: 'parent' })
    },
  },
  {
    name: 'token as JSON and as text',
    async run(start) {
      const { at, yoto } = await beginSignedIn(start)
      const { status, headers, text } = await send(at, '/api/token', { key: TOOL })
      expect(status).toBe(200)
      expect(headers['cache-control']).toBe('no-store')
      const body = JSON.parse(text)
      expect(body).toMatchObject({
        token_type: 'Bearer',
        expires_in: expect.any(Number),
        expires_at: expect.any(String),
      })
      const bare = await send(at, '/api/token', { key: TOOL, headers: { accept: 'text/plain' } })
      expect(bare.headers['content-type']).toContain('text/plain')
      expect(bare.text.trim()).toBe(body.access_token)
      expect(await whoami(yoto, body.access_token)).toBe(200)
    },
  },
  {
    name: 'the doctor finds all well',
    async run(start) {
      const { at } = await beginSignedIn(start)
      const { status, body } = await json<{ checks: { name: string; ok: boolean; message: string }[] }>(
        at,
        '/api/doctor',
      )
      expect(status).toBe(200)
      // The test's own doing: no PUBLIC_URL, and perhaps a container's disk.
      const bad = body.checks.filter(({ name, ok }) => !ok && name !== 'public_url' && name !== 'volume')
      expect(bad).toEqual([])
      expect(body.checks.map(({ name }) => name)).toEqual(expect.arrayContaining(['writable', 'yoto_login', 'clock']))
      return body.checks.find(({ name }) => name === 'platform')?.message
    },
  },
  {
    name: 'restart without a sign-in',
    async run(start) {
      const { at, yoto } = await beginSignedIn(start)
      const before = await tokenOf(at)
      await at.restart()
      expect(await tokenOf(at)).toBe(before)
      expect((await json(at, '/api/auth/status')).body).toMatchObject({ state: 'signed_in', authenticated: true })
      expect(yoto.counts).toMatchObject({ refresh_ok: 0, refresh_refused: 0 })
    },
  },
  {
    name: 'the same with its state in Redis',
    needs: 'files',
    async run(start) {
      const redis = await startRedis()
      const yoto = await startStandIn()
      const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, REDIS_URL: redis.url }
      const at = await start({ ...KEYS, ...env }, () => Promise.all([yoto.stop(), redis.stop()]))
      await signIn(at, yoto)
      const before = await tokenOf(at)
      await at.restart()
      expect(await tokenOf(at)).toBe(before)
      expect(await redis.client.keys('*')).toContainEqual(expect.stringContaining('.yoto_refresh_token'))
      expect(yoto.counts).toMatchObject({ refresh_ok: 0, refresh_refused: 0 })
    },
  },
  {
    name: 'a browser stays unlocked over a restart',
    async run(start) {
      const { at } = await begin(start)
      const cookie = cookieOf(await send(at, '/api/access/unlock', { key: '', body: { key: OWNER } }))
      await at.restart()
      const status = () => send(at, '/api/auth/status', { key: '', headers: { cookie } })
      expect((await status()).status).toBe(200)
      expect((await send(at, '/api/access/lock', { method: 'POST' })).status).toBe(200)
      expect((await status()).status).toBe(401)
    },
  },
  {
    name: 'sign-out revokes and removes',
    async run(start) {
      const { at, yoto } = await beginSignedIn(start)
      const last = yoto.currentRefreshToken()
      expect((await json(at, '/api/auth/logout', { method: 'POST' })).body).toMatchObject({ success: true })
      expect(yoto.isRevoked(last)).toBe(true)
      const isOut = async () => {
        expect(await agreed(at, '/api/token')).toMatchObject({ status: 409, body: { error: 'signed_out' } })
        const { body } = await agreed(at, '/api/auth/status')
        expect(body).toMatchObject({ state: 'signed_out', authenticated: false })
      }
      await isOut()
      await at.restart()
      await isOut()
      expect(yoto.counts).toMatchObject({ refresh_ok: 0, refresh_refused: 0 })
    },
  },

  // --- refreshing ---------------------------------------------------------------------------------------------------
  {
    name: 'refresh, kept over a restart',
    async run(start) {
      const { at, yoto, api } = await beginSignedIn(start)
      const before = await tokenOf(at)
      expect((await callWithRefusedToken(at, api)).status).toBe(200)
      const after = await agreedToken(at)
      expect(after).not.toBe(before)
      expect(await whoami(yoto, after)).toBe(200)
      await at.restart()
      expect(await tokenOf(at)).toBe(after)
      expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
    },
  },
  {
    name: '200 callers at expiry, one refresh',
    async run(start) {
      const lifetime = 6
      const { at, yoto } = await beginSignedIn(start, { expiresIn: lifetime })
      const since = Date.now()
      const first = await tokenOf(at)
      yoto.inject({ kind: 'replace-json', map: (body) => ({ ...body, expires_in: 3600 }) }, FOR_REFRESH)
      const hold = yoto.hold(FOR_REFRESH)
      await sleep(since + lifetime * 1_000 - Date.now())
      const answers = Array.from({ length: 200 }, () => json<{ access_token: string }>(at, '/api/token'))
      await hold.reached
      await sleep(200)
      hold.release()
      const tokens = (await Promise.all(answers)).map(({ status, body }) => `${status} ${body.access_token}`)
      expect(new Set(tokens)).toEqual(new Set([`200 ${await tokenOf(at)}`]))
      expect(tokens[0]).not.toContain(first)
      expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
    },
  },
  {
    name: 'a refused token is never sent again',
    async run(start) {
      const { at, yoto } = await beginSignedIn(start, { expiresIn: 4 })
      const form = { client_id: yoto.clientId, token: yoto.currentRefreshToken() }
      await fetch(`${yoto.url}/oauth/revoke`, { method: 'POST', body: new URLSearchParams(form) })
      await sleep(4_000)
      const needsSignIn = async () => {
        await agreed(at, '/api/token')
        expect((await agreed(at, '/api/auth/status')).body).toMatchObject({ state: 'needs_sign_in' })
        for (const [method, path] of [
          ['POST', '/api/auth/refresh'],
          ['GET', '/api/token'],
          ['GET', '/api/yoto/v1'],
        ] as const) {
          expect(await json(at, path, { method })).toMatchObject({ status: 409, body: { error: 'needs_sign_in' } })
        }
      }
      await needsSignIn()
      await at.restart()
      await needsSignIn()
      expect(yoto.counts).toMatchObject({ refresh_ok: 0, refresh_refused: 1 })
      await signIn(at, yoto)
      expect(await whoami(yoto, await tokenOf(at))).toBe(200)
    },
  },
  {
    name: 'SIGTERM in a refresh keeps the new token',
    needs: 'signals',
    async run(start) {
      const { at, yoto, api } = await beginSignedIn(start)
      const before = await tokenOf(at)
      const endless = connect(Number(new URL(at.url).port), '127.0.0.1').on('error', () => {})
      endless.write(`POST /api/auth/poll HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${OWNER}\r\n`)
      endless.write('content-length: 1000\r\n\r\n{')
      const hold = yoto.hold(FOR_REFRESH)
      const answer = callWithRefusedToken(at, api).catch(() => undefined)
      await hold.reached
      const since = Date.now()
      const restarted = at.restart()
      await sleep(1_000)
      hold.release()
      await restarted
      endless.destroy()
      expect(Date.now() - since).toBeLessThan(9_000) // Nitro alone would wait 30 s for the endless request
      await answer
      const after = await tokenOf(at)
      expect(after).not.toBe(before)
      expect(await whoami(yoto, after)).toBe(200)
      expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
    },
  },

  // --- who may call -------------------------------------------------------------------------------------------------
  {
    name: 'no key, a wrong one, a tool’s',
    async run(start) {
      const { at } = await beginSignedIn(start)
      const owners = ['/api/auth/status', '/api/journal', '/api/doctor', '/docs', '/_openapi.json', '/api/nothing']
      for (const path of [...owners, '/api/token', '/api/yoto/v1']) {
        for (const key of ['', 'wrong-key-0123456789']) {
          const { status, body } = await json<{ error: string }>(at, path, { key })
          expect({ path, status, error: body.error }).toEqual({ path, status: 401, error: 'unauthorized' })
        }
      }
      for (const path of owners) expect(await json(at, path, { key: TOOL })).toMatchObject({ status: 403 })
      for (const path of ['logout', 'refresh', 'start', 'poll']) {
        expect(await json(at, `/api/auth/${path}`, { method: 'POST', key: TOOL })).toMatchObject({ status: 403 })
      }
      expect((await json(at, '/api/token', { key: TOOL })).status).toBe(200)
    },
  },
  {
    name: 'too many wrong keys, and the right one',
    async run(start) {
      const { at } = await begin(start)
      const guess = (i: number) => send(at, '/api/auth/status', { key: `wrong-key-${i}-0123456789` })
      const statuses: number[] = []
      while (statuses.at(-1) !== 429 && statuses.length < 500) statuses.push((await guess(statuses.length)).status)
      expect(statuses.at(-1)).toBe(429)
      expect(new Set(statuses.slice(0, -1))).toEqual(new Set([401]))
      expect((await send(at, '/api/auth/status')).status).toBe(200)
      return `429 after ${statuses.length - 1}`
    },
  },
  {
    name: 'wrong keys are counted by address',
    needs: 'peer',
    async run(start) {
      const { at } = await begin(start)
      const guess = (localAddress: string) =>
        send(at, '/api/auth/status', { key: 'wrong-key-0123456789', localAddress })
      await waitUntil(async () => (await guess('127.0.0.1')).status === 429, { what: 'there was a 429' })
      expect((await guess('127.0.0.2')).status).toBe(401)
    },
  },
  {
    name: 'other sites and other names',
    async run(start) {
      const { at } = await begin(start)
      const cookie = cookieOf(await send(at, '/api/access/unlock', { key: '', body: { key: OWNER } }))
      const ask = async (headers: Record<string, string>) =>
        (await send(at, '/api/auth/status', { key: '', headers: { cookie, ...headers } })).status
      expect(await ask({})).toBe(200)
      expect(await ask({ 'sec-fetch-site': 'same-origin', origin: at.url })).toBe(200)
      expect(await ask({ origin: 'https://evil.example' })).toBe(403)
      expect(await ask({ origin: 'null' })).toBe(403)
      expect(await ask({ 'sec-fetch-site': 'cross-site' })).toBe(403)
      expect(await ask({ 'sec-fetch-site': 'same-site' })).toBe(403)
      expect(await ask({ host: 'evil.example' })).toBe(403)
      const key = { key: '', body: { key: OWNER } }
      expect((await send(at, '/api/access/unlock', { ...key, headers: { host: 'evil.example' } })).status).toBe(403)
      expect((await send(at, '/api/auth/status', { headers: { host: 'any.example' } })).status).toBe(200)
    },
  },
  {
    name: 'other spellings of a path let nobody in',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      const token = await tokenOf(at)
      for (const path of SPELLINGS_OF_STATUS) {
        for (const key of ['', TOOL]) {
          const { status, text } = await send(at, path, { key })
          expect({ path, key, status, isIn: text.includes('"authenticated"') }).toMatchObject({ isIn: false })
          expect(status).toBeLessThan(500)
        }
      }
      for (const path of SPELLINGS_OF_TOKEN) {
        const { status, text } = await send(at, path, { key: '' })
        expect({ path, isIn: text.includes(token) || status < 300 }).toEqual({ path, isIn: false })
      }
      expect(api.arrivals.filter(({ target }) => /\.\.\/|\\/.test(target))).toEqual([])
    },
  },

  // --- errors -------------------------------------------------------------------------------------------------------
  {
    name: 'errors have one shape',
    async run(start) {
      const { at } = await begin(start)
      const cases: [status: number, error: string, path: string, call: Call][] = [
        [404, 'not_found', '/api/nothing', {}],
        [404, 'not_found', '/nothing/at%20all?x=1', {}],
        [405, 'method_not_allowed', '/api/token', { method: 'POST' }],
        [400, 'bad_request', '/api/auth/poll', { raw: '{"device_code":' }],
        [400, 'bad_request', '/api/auth/poll', { body: { other: 1 } }],
        [404, 'not_found', '/api/auth/poll', { body: { device_code: '0'.repeat(32) } }],
        [409, 'signed_out', '/api/token', {}],
        [413, 'too_large', '/api/auth/poll', { raw: 'x'.repeat(MB) }],
        [413, 'too_large', '/api/access/unlock', { raw: 'x'.repeat(MB), key: '' }],
      ]
      for (const [status, error, path, call] of cases) {
        const answer = await send(at, path, call)
        expect({ path, status: answer.status }).toEqual({ path, status })
        expect(answer.headers).toMatchObject({ 'keeper-error': error, 'cache-control': 'no-store' })
        expect(answer.headers['content-type']).toContain('application/json')
        expect(JSON.parse(answer.text)).toMatchObject({ error, message: expect.any(String) })
      }
      expect(at.log()).not.toMatch(/^ {4}at /m)
    },
  },
  {
    name: 'a Host that is none',
    async run(start) {
      const { at } = await begin(start)
      for (const host of ['a b', '%%%', '[::1', 'x:99999', '<b>']) {
        for (const path of ['/', '/api/auth/status', '/_openapi.json', '/api/auth/login']) {
          const { status, text } = await send(at, path, { headers: { host } })
          expect({ host, path, status }).not.toMatchObject({ status: 500 })
          expect(text).not.toMatch(/<b>|\n {4}at /)
        }
      }
      expect((await send(at, '/api/health', { key: '' })).status).toBe(200)
    },
  },

  // --- calls to Yoto's API ------------------------------------------------------------------------------------------
  {
    name: 'API: methods, query and headers',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      const token = await tokenOf(at)
      const target = '/v1/a%2Fb//c?a=%2F..%2F&a=b+c%20d&a'
      for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
        const before = api.arrivals.length
        const headers = { 'x-custom': 'a, b', cookie: 'a=b', 'x-forwarded-for': '192.0.2.1' }
        const answer = await send(at, `/api/yoto${target}`, { method, key: TOOL, headers })
        expect({ method, status: answer.status }).toEqual({ method, status: 200 })
        const [arrival, ...more] = api.arrivals.slice(before)
        expect(more).toEqual([])
        expect(arrival).toMatchObject({ method, target, headers: { 'x-custom': 'a, b' } })
        expect(arrival?.headers.authorization).toBe(`Bearer ${token}`)
        expect(JSON.stringify(arrival)).not.toMatch(/192\.0\.2\.1|a=b;|tool-key/)
        expect(arrival?.headers.cookie).toBeUndefined()
      }
    },
  },
  {
    name: 'API: 1 MB of bytes up',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      const bytes = randomBytes(MB)
      for (const method of ['POST', 'PUT']) {
        for (const [framing, value] of [
          ['content-length', String(MB)],
          ['transfer-encoding', 'chunked'],
        ] as const) {
          const headers = { 'content-type': 'application/octet-stream', [framing]: value }
          const { status } = await send(at, '/api/yoto/upload', { method, raw: bytes, headers })
          expect(status).toBe(200)
          expect(api.arrivals.at(-1)).toMatchObject({ method, bytes: MB, sha256: sha256(bytes), end: 'whole' })
        }
      }
    },
  },
  {
    name: 'API: 1 MB of bytes down',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      const bytes = randomBytes(MB)
      api.answer = (incoming, response) => {
        incoming.resume()
        response.writeHead(200, { 'content-type': 'audio/mpeg', etag: '"1"', 'set-cookie': 'a=b' }).end(bytes)
      }
      const answer = await send(at, '/api/yoto/download')
      expect(answer.status).toBe(200)
      expect(answer.headers).toMatchObject({ 'content-type': 'audio/mpeg', etag: '"1"' })
      expect(answer.headers['set-cookie']).toBeUndefined()
      expect(answer.headers['content-security-policy']).toBe('sandbox')
      expect(sha256(answer.bytes)).toBe(sha256(bytes))
    },
  },
  {
    name: 'API: an answer is passed on as it comes',
    needs: 'streams',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      let end = () => {}
      api.answer = (incoming, response) => {
        incoming.resume()
        response.write('first')
        end = () => response.end(' and rest')
      }
      const [answer] = (await once(open(at, '/api/yoto/v1').end(), 'response')) as [IncomingMessage]
      let text = ''
      for await (const chunk of answer.setEncoding('utf8')) {
        text += chunk
        if (text === 'first') end()
      }
      expect(text).toBe('first and rest')
    },
  },
  {
    name: 'API: what breaks off is no whole answer',
    needs: 'streams',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      api.answer = async (incoming, response) => {
        incoming.resume()
        response.write('half')
        await sleep(300)
        response.destroy()
      }
      await expect(send(at, '/api/yoto/v1')).rejects.toThrow()
      expect((await send(at, '/api/health')).status).toBe(200)
    },
  },
  {
    name: 'API: a caller that goes away ends the call',
    needs: 'departures',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      const arrived = new Promise<ServerResponse>((resolve) => {
        api.answer = (incoming, response) => {
          incoming.resume()
          resolve(response)
        }
      })
      const outgoing = open(at, '/api/yoto/v1').end()
      const response = await arrived
      outgoing.destroy()
      await waitUntil(() => response.destroyed, { what: 'the call to Yoto had ended', timeout: 5_000 })
    },
  },
  {
    name: 'API: statuses and redirects as they are',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      for (const status of [201, 204, 301, 302, 303, 304, 307, 308, 400, 404, 409, 429, 500, 503]) {
        for (const raw of [undefined, 'x']) {
          const before = api.arrivals.length
          api.answer = (incoming, response) => {
            incoming.resume()
            response.writeHead(status, { location: 'https://elsewhere.example/x?y=z', 'retry-after': '7' })
            response.end([204, 304].includes(status) ? undefined : 'body')
          }
          const answer = await send(at, '/api/yoto/v1', { method: raw ? 'POST' : 'GET', raw })
          expect({ status, got: answer.status }).toEqual({ status, got: status })
          expect(answer.headers).toMatchObject({ location: 'https://elsewhere.example/x?y=z', 'retry-after': '7' })
          expect(answer.headers['keeper-error']).toBeUndefined()
          expect(answer.text).toBe([204, 304].includes(status) ? '' : 'body')
          expect(api.arrivals.length).toBe(before + 1)
        }
      }
    },
  },
  {
    name: 'API: a 401 is healed',
    async run(start) {
      const { at, yoto, api } = await beginSignedIn(start)
      expect(await callWithRefusedToken(at, api)).toMatchObject({ status: 200, text: 'body' })
      expect(api.arrivals).toHaveLength(2)
      expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
    },
  },
  {
    name: 'API: dot segments and backslashes',
    async run(start) {
      const { at, api } = await beginSignedIn(start)
      const changed: string[] = []
      for (const path of ['/v1/../v2', '/v1/./v2', '/v1/%2e%2e/v2', '/v1\\v2', '/../token', '/..']) {
        const before = api.arrivals.length
        const { status } = await send(at, `/api/yoto${path}`, { key: TOOL })
        const arrived = api.arrivals.slice(before).map(({ target }) => target)
        if (status === 400) {
          expect(arrived).toEqual([])
          continue
        }
        // A platform that parses the address before it hands it over: what it makes of it is a path like any other.
        const { pathname } = new URL(`http://host/api/yoto${path}`)
        expect(arrived).toEqual(pathname.startsWith('/api/yoto/') ? [pathname.slice('/api/yoto'.length)] : [])
        changed.push(path)
      }
      return changed.length === 0 ? '400' : `tidied by the platform: ${changed.join(' ')}`
    },
  },
]

/** What routers and URL parsers take for the same. */
const SPELLINGS_OF_STATUS = [
  ...['/api/auth/status/', '/%61pi/auth/status', '/api/auth/%73tatus', '/api/auth/status%3Fx', '//api/auth/status'],
  ...['/./api/auth/status', '/api/health/../auth/status', '/api/health/%2e%2e/auth/status', '/API/AUTH/STATUS'],
  ...['/api/yoto/../auth/status', '/api/yoto/%2e%2e/auth/status', '/api/yoto/..\\auth/status', '/api\\auth\\status'],
  ...['/api/yoto/..%2fauth/status', '/api/token/../auth/status', '/api/auth/status;x', '/api/auth/status?/api/token'],
]
const SPELLINGS_OF_TOKEN = [
  ...['/api/token/', '/%61pi/token', '/api/%74oken', '/api/token%3Fx', '/api/token?/api/health', '//api/token'],
  ...['/./api/token', '/api/health/../token', '/api/health/%2e%2e/token', '/api/yoto/../token', '/api\\token'],
  ...['/api/health%2f..%2ftoken', '/api/health\\..\\token', '/style.css/../api/token'],
]

// --- the scene --------------------------------------------------------------------------------------------------------

const KEYS = { KEEPER_KEY: OWNER, KEEPER_TOOL_KEYS: `tool:${TOOL}` }

interface Scene {
  at: Running
  yoto: StandIn
  api: ApiServer
}

/** Nobody is signed in. */
async function begin(start: Start, options: StandInOptions = {}): Promise<Scene> {
  const [yoto, api] = await Promise.all([startStandIn(options), startApiServer()])
  const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: api.url }
  const at = await start({ ...KEYS, ...env }, () => Promise.all([yoto.stop(), api.stop()]))
  return { at, yoto, api }
}

async function beginSignedIn(start: Start, options?: StandInOptions): Promise<Scene> {
  const scene = await begin(start, options)
  await signIn(scene.at, scene.yoto)
  return scene
}

/** The way back from Yoto, without the way there: the quickest sign-in. */
async function signIn(at: Running, yoto: StandIn): Promise<void> {
  const begun = await send(at, '/api/auth/login')
  const state = new URL(begun.headers.location ?? '').searchParams.get('state') ?? ''
  const query = new URLSearchParams({ state, code: yoto.authorize() })
  const back = await send(at, `/api/auth/callback?${query}`, { key: '', headers: { cookie: cookieOf(begun) } })
  expect(back.headers.location).toBe('/#sign-in=success')
}

async function tokenOf(at: Running): Promise<string> {
  const { status, body } = await json<{ access_token: string }>(at, '/api/token')
  expect(status).toBe(200)
  return body.access_token
}

/**
 * What all instances say: on node-cluster each connection goes to the next worker, and for up to 2 s one may not have seen yet what
 * another has done (rule 10).
 */
async function agreed<Body = object>(at: Running, path: string): Promise<{ status: number; body: Body }> {
  let [last, same] = [await json<Body>(at, path), 1]
  await waitUntil(
    async () => {
      const next = await json<Body>(at, path)
      same = next.status === last.status && isAlike(next.body, last.body) ? same + 1 : 1
      last = next
      return same === 8
    },
    { what: `all said the same at ${path}`, timeout: 4_000 },
  )
  return last
}

/** But for what time alone changes. */
function isAlike(one: unknown, other: unknown): boolean {
  const text = (body: unknown) => JSON.stringify(body).replace(/"expires_in":\d+/, '')
  return text(one) === text(other)
}

async function agreedToken(at: Running): Promise<string> {
  return (await agreed<{ access_token: string }>(at, '/api/token')).body.access_token
}

/** Yoto's API takes the current access token no more: the surest way to a refresh, as one that is asked for may be thought too early. */
async function callWithRefusedToken(at: Running, api: ApiServer): Promise<Answer> {
  const dead = `Bearer ${await tokenOf(at)}`
  api.answer = (incoming, response) => {
    incoming.resume()
    response.writeHead(incoming.headers.authorization === dead ? 401 : 200).end('body')
  }
  return send(at, '/api/yoto/v1', { key: TOOL })
}

async function whoami(yoto: StandIn, accessToken: string): Promise<number> {
  return (await fetch(`${yoto.url}/v1/whoami`, { headers: { authorization: `Bearer ${accessToken}` } })).status
}

// --- HTTP -------------------------------------------------------------------------------------------------------------

interface Call extends Pick<RequestOptions, 'method' | 'localAddress'> {
  headers?: Record<string, string>
  /** By default the owner's; '' for none. */
  key?: string
  /** Sent as JSON, by POST. */
  body?: object
  /** Sent as it is, by POST unless told otherwise. */
  raw?: string | Buffer
}

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  bytes: Buffer
  text: string
}

/** Path and headers leave as they are given: fetch would tidy both. */
function open(at: Running, path: string, call: Call = {}): ClientRequest {
  const { hostname, port } = new URL(at.url)
  const { key = OWNER, body, raw, localAddress } = call
  const method = call.method ?? (body || raw !== undefined ? 'POST' : 'GET')
  const headers = {
    ...(key && { authorization: `Bearer ${key}` }),
    ...(body && { 'content-type': 'application/json' }),
    ...call.headers,
  }
  const outgoing = request({ hostname, port, path, method, headers, localAddress, agent: false })
  return outgoing.on('error', () => {}) // told to whoever waits for the answer
}

async function send(at: Running, path: string, call: Call = {}): Promise<Answer> {
  const raw = call.raw ?? (call.body && JSON.stringify(call.body))
  const [answer] = (await once(open(at, path, call).end(raw), 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk)
  const bytes = Buffer.concat(chunks)
  return { status: answer.statusCode ?? 0, headers: answer.headers, bytes, text: bytes.toString() }
}

async function json<Body = object>(at: Running, path: string, call?: Call): Promise<{ status: number; body: Body }> {
  const { status, text } = await send(at, path, call)
  return { status, body: JSON.parse(text) }
}

/** The cookie that an answer sets, as it is sent back. */
function cookieOf({ headers }: Answer): string {
  return headers['set-cookie']?.[0]?.split(';')[0] ?? ''
}

function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex')
}
