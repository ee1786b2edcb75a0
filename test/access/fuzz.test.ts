import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { place } from '../faults/scene'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { type SeededTokens, type StandIn, startStandIn } from '../support/stand-in'

// Whatever is sent to the built service: no 500, no stack, no secret in any answer or log line, and nobody gets in without a key.

/** How many requests without a key; a tenth as many again with one. */
const REQUESTS = Number(process.env.REQUESTS ?? 5_000)

const OWNER = 'owner-key-0123456789'
const TOOL = 'tool-key-0123456789'
/** In queries, headers and bodies: must come back nowhere. */
const PLANTED = 'planted-secret-8f3a'

const folder = mkdtempSync(join(tmpdir(), 'fuzz-'))
const agent = new Agent({ keepAlive: true, maxSockets: 32 })
let yoto: StandIn
let keeper: Keeper
let first: SeededTokens
let secrets: string[]

beforeAll(async () => {
  yoto = await startStandIn()
  first = yoto.seed()
  place(folder, yoto, first, 'valid')
  const own = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url }
  const keys = { KEEPER_KEY: OWNER, KEEPER_TOOL_KEYS: `tool:${TOOL}`, YOTO_CLIENT_SECRET: 'client-secret-0123456789' }
  keeper = await startKeeper({ cwd: folder, env: { ...own, ...keys } })
  await keeper.fetch('/api/access/unlock', { method: 'POST', body: JSON.stringify({ key: OWNER }) })
  const session = readFileSync(join(folder, '.yoto_session_secret'), 'utf8')
  secrets = [OWNER, TOOL, keys.YOTO_CLIENT_SECRET, first.access_token, first.refresh_token, session, PLANTED]
})
afterAll(async () => {
  agent.destroy()
  await keeper?.stop()
  await yoto?.stop()
  rmSync(folder, { recursive: true })
})

interface Request {
  method: string
  path: string
  headers: Record<string, string>
  body: string
}

interface Answer {
  /** 0: the connection was closed without one. */
  status: number
  headers: IncomingHttpHeaders
  body: string
}

function send({ method, path, headers, body }: Request): Promise<Answer> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(keeper.url)
    const outgoing = request({ agent, hostname, port, method, path, headers }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk) => chunks.push(chunk))
      answer.on('close', () => {
        const { statusCode = 0, headers } = answer
        const sent = Buffer.concat(chunks)
        const body = headers['content-encoding'] === 'gzip' && sent.length > 0 ? gunzipSync(sent) : sent
        resolve({ status: statusCode, headers, body: body.toString() })
      })
    })
    outgoing.on('error', () => resolve({ status: 0, headers: {}, body: '' }))
    // Other methods' bodies would be sent unframed, as the next request.
    outgoing.end(['POST', 'PUT', 'PATCH'].includes(method) ? body : undefined)
  })
}

// --- what is sent -----------------------------------------------------------------------------------------------------

const PATHS = [
  ...[
    '/',
    '/style.css',
    '/client.js',
    '/client/ask.js',
    '/api/health',
    '/api/ready',
    '/api/access/unlock',
    '/api/access/lock',
  ],
  ...['/api/auth/status', '/api/auth/start', '/api/auth/poll', '/api/auth/logout', '/api/auth/refresh'],
  ...['/api/auth/login', '/api/auth/callback', '/api/token', '/api/journal', '/api/doctor', '/api/yoto/v1/card'],
  ...['/_openapi.json', '/_scalar', '/.yoto_refresh_token', '/%E0%A4%A'],
]

/** node:http sends these as they are. */
const pathText = fc.string({
  unit: fc.constantFrom(...'abcdefAPIapi0123456789/.%;:@&=+$,~!*()[]{}|^`"<>\\\'-_\u00e9\u00ff'),
  maxLength: 60,
})

const mutation: fc.Arbitrary<(path: string) => string> = fc.oneof(
  fc.nat().map((at) => (path: string) => {
    const place = at % path.length
    return `${path.slice(0, place)}%${path.charCodeAt(place).toString(16).padStart(2, '0')}${path.slice(place + 1)}`
  }),
  fc.tuple(fc.nat(), pathText).map(
    ([at, text]) =>
      (path: string) =>
        path.slice(0, at % (path.length + 1)) + text + path.slice(at % (path.length + 1)),
  ),
  fc.constantFrom<(path: string) => string>(
    (path) => path.replace(/[a-z]/g, (letter) => letter.toUpperCase()),
    (path) => path.replaceAll('/', '//'),
    (path) => path.replaceAll('/', '\\'),
    (path) => path.replaceAll('/', '%2f'),
    (path) => `${path}/`,
    (path) => `${path};x=1`,
    (path) => `${path}%00`,
    (path) => `${path}%`,
    (path) => `${path}/../token`,
    (path) => `/api/health/%2e%2e/..${path}`,
    (path) => `http://evil.example${path}`,
    (path) => `${path}/${'x'.repeat(8_000)}`,
  ),
)

const path = fc
  .tuple(
    fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...PATHS) },
      { weight: 1, arbitrary: pathText.map((text) => `/${text}`) },
    ),
    fc.array(mutation, { maxLength: 3 }),
    fc.option(
      fc.oneof(
        pathText,
        fc.constantFrom(
          `key=${OWNER}`,
          `access_token=${PLANTED}`,
          'min_ttl=x',
          'a=1&a=2',
          `state=${'0'.repeat(32)}&code=${PLANTED}`,
          'state=x&error=y',
          '?',
          '#',
        ),
      ),
    ),
  )
  .map(([start, mutations, query]) => {
    const changed = mutations.reduce((path, change) => change(path), start)
    return query === null ? changed : `${changed}?${query}`
  })

const headerText = fc.string({
  unit: fc.constantFrom(...'abcXYZ0123456789 ./:;,=-_~"\\{}[]()<>@?\t\u00e9\u00ff'),
  maxLength: 80,
})
const long = fc.integer({ min: 1, max: 6_000 }).map((length) => 'x'.repeat(length))
const oneOf = (...values: string[]) => fc.oneof(fc.constantFrom(...values), headerText)

const headers = fc
  .record(
    {
      authorization: fc.oneof(
        oneOf(
          'Bearer',
          'Bearer ',
          `Bearer ${PLANTED}`,
          `Basic ${OWNER}`,
          OWNER,
          `Bearer ${OWNER}x`,
          `Bearer x ${OWNER}`,
        ),
        headerText.map((text) => `Bearer ${text}`),
        long.map((text) => `Bearer ${text}`),
      ),
      cookie: fc.oneof(
        oneOf('keeper_session=', `keeper_session=${OWNER}`, `keeper_session=${PLANTED}.0`, 'keeper_session=%', '=; ;;'),
        fc
          .tuple(
            fc.maxSafeInteger(),
            fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 64, maxLength: 64 }),
          )
          .map(([until, mac]) => `keeper_session=${until}.${mac}`),
        headerText.map((text) => `keeper_session=${text}`),
      ),
      host: oneOf(
        '',
        'localhost',
        'evil.example',
        'a b',
        '[',
        '[::1',
        '%',
        'localhost:99999',
        '\\',
        'a@b',
        'x/y',
        '?#',
      ),
      origin: oneOf('null', '', 'https://evil.example', 'http://localhost', '://', 'javascript:1'),
      'sec-fetch-site': oneOf('cross-site', 'same-origin', 'none'),
      'content-type': oneOf(
        'application/json',
        'text/plain',
        'multipart/form-data; boundary=x',
        'application/json; charset=\u00ff',
      ),
      accept: oneOf('text/plain', '*/*', 'text/html'),
      'x-forwarded-for': oneOf('127.0.0.1', '::1'),
      'x-forwarded-host': oneOf('localhost', 'evil.example'),
      'x-forwarded-proto': oneOf('https', 'javascript'),
      'x-real-ip': oneOf('127.0.0.1'),
      'x-dev-peer': oneOf('127.0.0.1'),
      'x-keeper_session-session': oneOf(OWNER, PLANTED),
      'x-http-method-override': oneOf('DELETE', 'POST'),
      range: oneOf('bytes=0-1'),
      'accept-encoding': oneOf('gzip, br'),
      'access-control-request-method': oneOf('POST'),
      'access-control-request-headers': oneOf('authorization'),
      'x-nitro-error': oneOf('1'),
    },
    { requiredKeys: [] },
  )
  // A header's value has no spaces around it on the wire.
  .map((all) => Object.fromEntries(Object.entries(all).map(([name, value]) => [name, value.trim()])))

const json = fc.oneof(
  fc.json({ maxDepth: 4 }),
  fc.constantFrom(
    ...['{}', '[]', 'null', '""', '{"key":', '{"key":1}', `{"key":"${PLANTED}"}`, `{"device_code":"${PLANTED}"}`],
    ...[
      '{"device_code":null}',
      '{"__proto__":{"key":"x"}}',
      '{"constructor":1,"key":["x"]}',
      '\u0000\u0001',
      '\ufeff{}',
    ],
    `{"device_code":"${'a'.repeat(32)}"}`,
    '['.repeat(5_000),
    `{"key":"${'x'.repeat(17_000)}"}`,
  ),
  fc.record({ key: fc.oneof(fc.string(), fc.anything()) }).map((value) => safeJson(value)),
  fc.record({ device_code: fc.oneof(fc.string(), fc.anything()) }).map((value) => safeJson(value)),
  fc.string({ unit: 'binary', maxLength: 200 }),
)

function safeJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? ''
  } catch {
    return '' // a cycle, or a bigint
  }
}

const methods = ['GET', 'GET', 'POST', 'POST', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']
// Odd headers stop most requests at the guard; so every other one has none.
const anyRequest: fc.Arbitrary<Request> = fc.record({
  method: fc.constantFrom(...methods),
  path,
  headers: fc.oneof(fc.constant({}), headers),
  body: json,
})

// --- what may come back -----------------------------------------------------------------------------------------------

/** What everybody may have: health, readiness, the page, its scripts and its style. */
function isOpen({ headers, body }: Answer): boolean {
  const type = String(headers['content-type'])
  return /^\{"status":"ok"\}$|^\{"ready":true\}$|^<!doctype html>/i.test(body) || /^text\/(javascript|css)\b/.test(type)
}

function check(answer: Answer): void {
  const { status, headers, body } = answer
  if (status >= 500) throw new Error(`answered ${status}: ${body.slice(0, 200)}`)
  if (/\n\s+at |node_modules|\.mjs:\d/.test(body) && !isOpen(answer)) throw new Error(`a stack: ${body.slice(0, 200)}`)
  const said = `${JSON.stringify(headers)} ${body}`
  const leak = secrets.findIndex((secret) => said.includes(secret))
  if (leak >= 0) throw new Error(`secret number ${leak} came back with ${status}`)
  // Node answers by itself what is not HTTP: 400, 431, without a body.
  if (status >= 400 && body) {
    const { error, message, hint, ...rest } = JSON.parse(body)
    const isShaped =
      /^[a-z_]+$/.test(error) && typeof message === 'string' && ['undefined', 'string'].includes(typeof hint)
    if (!isShaped || Object.keys(rest).length > 0) throw new Error(`not in our shape: ${body.slice(0, 200)}`)
  }
}

function checkStranger(answer: Answer): void {
  check(answer)
  if (answer.status >= 200 && answer.status < 400 && answer.body && !isOpen(answer)) {
    throw new Error(`somebody got in: ${answer.status} ${answer.body.slice(0, 200)}`)
  }
}

/** Sends until so many have been answered; a failure is shrunk to the request that caused it. */
async function fuzz(one: fc.Arbitrary<Request>, times: number, judge: (answer: Answer) => void): Promise<number> {
  let sent = 0
  const statuses: Record<number, number> = {}
  const batch = fc.array(one, { minLength: 1, maxLength: 100, size: 'max' })
  while (sent < times) {
    await fc.assert(
      fc.asyncProperty(batch, async (requests) => {
        const answers = await Promise.all(requests.map(send))
        sent += answers.length
        for (const [at, answer] of answers.entries()) {
          statuses[answer.status] = (statuses[answer.status] ?? 0) + 1
          try {
            judge(answer)
          } catch (error) {
            throw new Error(`${(error as Error).message}\nto ${JSON.stringify(requests[at]).slice(0, 2_000)}`)
          }
        }
      }),
      { numRuns: Math.ceil((times - sent) / 50) },
    )
  }
  console.log(`${sent} requests; answers by status: ${JSON.stringify(statuses)}`)
  return sent
}

async function expectUntouched(): Promise<void> {
  expect((await keeper.json('/api/health')).status).toBe(200)
  expect((await keeper.json<{ access_token: string }>('/api/token')).body.access_token).toBe(first.access_token)
  expect((await keeper.json('/api/auth/status')).body).toMatchObject({ state: 'signed_in', authenticated: true })
  expect(yoto.counts).toMatchObject({ device: 0, polls: 0, refresh_ok: 0, refresh_refused: 0, revoked: 0 })
  for (const secret of secrets) expect(keeper.log()).not.toContain(secret)
  expect(keeper.log()).not.toMatch(/^\s+at |\?/m)
}

describe('the service', () => {
  it('gives nothing away to those without a key, whatever they send', { timeout: 600_000 }, async () => {
    expect(await fuzz(anyRequest, REQUESTS, checkStranger)).toBeGreaterThanOrEqual(REQUESTS)
    await expectUntouched()
  })

  it('does not stumble over what those with a key send', { timeout: 600_000 }, async () => {
    const bearer = fc.constantFrom(OWNER, TOOL)
    const routes = ['/api/access/unlock', '/api/auth/poll', '/api/auth/status', '/api/journal', '/api/health', '/api/x']
    const safe = fc.tuple(anyRequest, bearer, fc.constantFrom(...routes), pathText).map(([one, key, route, query]) => ({
      ...one,
      path: `${route}?${query}`,
      headers: { ...one.headers, authorization: `Bearer ${key}` },
    }))
    await fuzz(safe, REQUESTS / 10, check)
    await expectUntouched()
  })

  it('answers or hangs up on what is no HTTP', async () => {
    const get = (target: string, ...headers: string[]) => [`GET ${target} HTTP/1.1`, ...headers, '', ''].join('\r\n')
    const messages = [
      ...[
        '',
        '\r\n\r\n',
        'GET\r\n\r\n',
        'GET /api/token\r\n\r\n',
        'GET /api/token HTTP/9.9\r\n\r\n',
        '\u0000\u0001\u0002\r\n\r\n',
      ],
      ...[get('/api/token'), get('*', 'Host: x'), get('', 'Host: x'), get('api/token', 'Host: x')],
      ...[get('http://', 'Host: x'), get('http://[', 'Host: x'), get('//', 'Host: x'), get('/\u0000', 'Host: x')],
      get('/api/token', 'Host: a', 'Host: b'),
      get('/api/token', `Host: ${'x'.repeat(20_000)}`),
      get('/api/token', 'Host: x', 'Authorization: Bearer a', `Authorization: Bearer ${OWNER}`),
      get('/api/token', 'Host: x', 'Content-Length: -1'),
      get('/api/token', 'Host: x', 'Content-Length: 5', 'Transfer-Encoding: chunked'),
      `POST /api/access/unlock HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"key"`,
      'POST /api/access/unlock HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      'CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n',
      'GET /api/token HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
      'NOTAMETHOD /api/token HTTP/1.1\r\nHost: x\r\n\r\n',
    ]
    for (const message of messages) {
      const text = await new Promise<string>((resolve) => {
        let received = ''
        const socket = connect(Number(new URL(keeper.url).port), '127.0.0.1')
        socket.setEncoding('latin1').on('data', (chunk) => (received += chunk))
        socket.on('close', () => resolve(received)).on('error', () => {})
        socket.end(message, 'latin1')
      })
      expect(text, JSON.stringify(message.slice(0, 80))).toMatch(
        /^$|^HTTP\/1\.1 (40[0-5]|429|431|501|505)|\r\n\r\n<!doctype html>/,
      )
      for (const secret of secrets) expect(text).not.toContain(secret)
    }
    await expectUntouched()
  })
})
