import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { type Fault, type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

/** Whatever comes in: an answer in the shape of all errors, and a service that goes on. */

const TOKEN_FILE = '.yoto_refresh_token'
const NOBODY = 65534
const UNKNOWN_HANDLE = '0123456789abcdef0123456789abcdef'

const parent = mkdtempSync(join(tmpdir(), 'bad-input-'))
const freshFolder = () => mkdtempSync(join(parent, 'data-'))
let yoto: StandIn
beforeAll(async () => {
  yoto = await startStandIn({ interval: 1 })
})
afterAll(async () => {
  await yoto.stop()
  rmSync(parent, { recursive: true })
})

const start = (cwd: string, uid?: number) =>
  startKeeper({ cwd, uid, env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url } })

interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

/** Unlike fetch: any path as it is, any method, any Host, and a body in pieces where it is a list. */
async function send(
  keeper: Keeper,
  method: string,
  path: string,
  { body, ...headers }: { body?: string | Buffer | Buffer[] } & Record<string, unknown> = {},
): Promise<Answer> {
  const { hostname: host, port } = new URL(keeper.url)
  const credentials = { authorization: `Bearer ${keeper.key}` }
  const sent = request({ host, port, method, path, headers: { ...credentials, ...(headers as object) } })
  sent.on('error', () => {}) // the service need not take the whole of what it has refused
  const answered = once(sent, 'response')
  for (const piece of Array.isArray(body) ? body : []) sent.write(piece)
  sent.end(Array.isArray(body) ? undefined : body)
  const [response] = await answered
  let text = ''
  for await (const piece of response.setEncoding('utf8')) text += piece
  return { status: response.statusCode, headers: response.headers, text }
}

function expectError(answer: Answer, status: number, error: string) {
  const body = answer.headers['content-type'] === 'application/json' ? JSON.parse(answer.text || '{}') : answer.text
  expect({ status: answer.status, body }).toMatchObject({ status, body: { error } })
  expect(Object.keys(body).filter((name) => !['error', 'message', 'hint'].includes(name))).toEqual([])
  expect(body.message).toMatch(/^.+\.$/)
  expect(answer.text).not.toMatch(/\bat .*:\d+|\.mjs|node_modules|Error:/)
  expect(answer.headers['cache-control']).toBe('no-store')
}

describe('a request', () => {
  let keeper: Keeper
  beforeAll(async () => {
    const cwd = freshFolder()
    writeFileSync(join(cwd, TOKEN_FILE), yoto.seed().refresh_token)
    keeper = await start(cwd)
    await waitUntil(async () => (await keeper.json('/api/token')).status === 200, { what: 'there is a token' })
  })
  afterAll(async () => {
    expect(await send(keeper, 'GET', '/api/health')).toMatchObject({ status: 200 })
    expect(await send(keeper, 'GET', '/api/token')).toMatchObject({ status: 200 })
    expect(yoto.counts.refresh_ok).toBe(1)
    await keeper.stop()
    expect(keeper.log()).not.toMatch(/^ +at /m)
    expect(keeper.log()).not.toContain('hush')
  })

  const poll = (device_code: unknown) => JSON.stringify({ device_code })
  const LARGE = 17 * 1024
  const BODIES: [name: string, body: string | Buffer | Buffer[], status: number, error: string][] = [
    ['nothing', '', 400, 'bad_request'],
    ['no JSON', 'hush', 400, 'bad_request'],
    ['a form', 'device_code=hush', 400, 'bad_request'],
    ['cut JSON', '{"device_code":"hush', 400, 'bad_request'],
    ['JSON and more', '{"device_code":"x"} hush', 400, 'bad_request'],
    ['null', 'null', 400, 'bad_request'],
    ['a number', '7', 400, 'bad_request'],
    ['a string', '"hush"', 400, 'bad_request'],
    ['an array', '[{"device_code":"hush"}]', 400, 'bad_request'],
    ['an empty object', '{}', 400, 'bad_request'],
    ['another field', '{"deviceCode":"hush"}', 400, 'bad_request'],
    ['a prototype', '{"__proto__":{"device_code":"hush"}}', 400, 'bad_request'],
    ['nested arrays', '['.repeat(8_000), 400, 'bad_request'],
    ['invalid UTF-8', Buffer.from([0xff, 0xfe, 0x00, 0x80]), 400, 'bad_request'],
    ['a handle that is a number', poll(7), 400, 'bad_request'],
    ['a handle that is null', poll(null), 400, 'bad_request'],
    ['a handle that is an array', poll([UNKNOWN_HANDLE]), 400, 'bad_request'],
    ['an unknown handle', poll(UNKNOWN_HANDLE), 404, 'not_found'],
    ['an empty handle', poll(''), 404, 'not_found'],
    ['a path for a handle', poll('../../etc/passwd'), 404, 'not_found'],
    ['a path to the token for a handle', poll('x/../../.yoto_refresh_token'), 404, 'not_found'],
    ['a handle in capitals', poll(UNKNOWN_HANDLE.toUpperCase()), 404, 'not_found'],
    ['a handle with a line break', poll(`${UNKNOWN_HANDLE}\n`), 404, 'not_found'],
    ['a handle with a zero byte', poll(`${UNKNOWN_HANDLE}\0`), 404, 'not_found'],
    ['a handle in invalid UTF-8', Buffer.from('{"device_code":"\xff"}', 'latin1'), 404, 'not_found'],
    ['a long handle', poll('x'.repeat(10_000)), 404, 'not_found'],
    ['a handle of 1 MB', poll('x'.repeat(1_000_000)), 413, 'too_large'],
    ['more than 16 kB', '7'.repeat(LARGE), 413, 'too_large'],
    ['more than 16 kB, chunked', Array.from({ length: 17 }, () => Buffer.alloc(1024, 32)), 413, 'too_large'],
    ['1 MB, chunked', Array.from({ length: 16 }, () => Buffer.alloc(65_536, 32)), 413, 'too_large'],
  ]
  it.each(BODIES)('of which the body is %s', async (_, body, status, error) => {
    expectError(await send(keeper, 'POST', '/api/auth/poll', { body }), status, error)
  })

  it('of which the body is just not too large', async () => {
    const body = poll(UNKNOWN_HANDLE).padEnd(16 * 1024)
    expectError(await send(keeper, 'POST', '/api/auth/poll', { body }), 404, 'not_found')
  })

  it.each([
    ['no JSON', 'hush', 400, 'bad_request'],
    ['another shape', '{"key":7}', 400, 'bad_request'],
    ['a wrong key', '{"key":"hush"}', 401, 'unauthorized'],
    ['an empty key', '{"key":""}', 401, 'unauthorized'],
    ['too large', JSON.stringify({ key: 'x'.repeat(LARGE) }), 413, 'too_large'],
  ])('to unlock, of which the body is %s', async (_, body, status, error) => {
    const answer = await send(keeper, 'POST', '/api/access/unlock', { body })
    expectError(answer, status, error)
    expect(answer.headers['set-cookie']).toBeUndefined()
  })

  it('of which the body breaks off', async () => {
    const { hostname, port } = new URL(keeper.url)
    const socket = connect(Number(port), hostname)
    const head = [
      'POST /api/auth/poll HTTP/1.1',
      'host: x',
      `authorization: Bearer ${keeper.key}`,
      'content-length: 99',
    ]
    await new Promise((sent) => socket.write(`${head.join('\r\n')}\r\n\r\n{"device`, sent))
    socket.destroy()
    expect(await send(keeper, 'GET', '/api/health')).toMatchObject({ status: 200 })
  })

  it.each(wrongMethods())('%s %s', async (method, path) => {
    expectError(await send(keeper, method, path, { body: '' }), 405, 'method_not_allowed')
  })

  it.each([
    ...['/nope', '/api', '/api/', '/api/nope', '/api/auth', '/api/auth/nope', '/.env', '/.yoto_refresh_token', '/%00'],
    ...['/%zz', '/%', '/%ff', '/%2e%2e/x', '/../x', '/api/../api/token', '/api/health/%2e%2e/token', '//api/token'],
    ...['/api//token', '/api%2Ftoken', '/api/token/x', '/__proto__', '/constructor', '/API/TOKEN', '*'],
    ...['http://evil.example/api/token', '/index.html'],
  ])('to the unknown path %s', async (path) => {
    expectError(await send(keeper, 'GET', path), 404, 'not_found')
    expectError(await send(keeper, 'GET', path, { authorization: '' }), 401, 'unauthorized')
  })

  it('to a very long path', async () => {
    for (const path of [
      '/'.repeat(8_000),
      `/${'x'.repeat(8_000)}`,
      `/${'x/'.repeat(4_000)}`,
      `/${'%2e'.repeat(3_000)}`,
    ]) {
      expectError(await send(keeper, 'GET', `${path}y`), 404, 'not_found')
      expectError(await send(keeper, 'GET', `/nope?${path}`), 404, 'not_found')
    }
  })

  const HOSTS = ['a b', '[', '%', 'a@b', 'localhost/x', 'localhost:port', 'ü', '<script>', 'x'.repeat(8_000)]
  it.each(HOSTS.map((host) => [host.slice(0, 20), host]))('with the Host %s', async (_, host) => {
    expect(await send(keeper, 'GET', '/api/health', { host })).toMatchObject({ status: 200 })
    expect(await send(keeper, 'GET', '/', { host })).toMatchObject({ status: 200 })
    expect(await send(keeper, 'GET', '/api/token', { host })).toMatchObject({ status: 200 })
    expectError(await send(keeper, 'GET', '/nope', { host }), 404, 'not_found')
    expectError(await send(keeper, 'GET', '/nope', { host, authorization: '' }), 403, 'forbidden')
    expectError(await send(keeper, 'POST', '/api/auth/poll', { host, body: 'hush' }), 400, 'bad_request')
  })

  it.each(['-1', 'x', '1.5', '1e3', '0x10', '', ' 1', '1&min_ttl=2', '9'.repeat(20), '%00', 'hush'])(
    'for a token with min_ttl=%s',
    async (value) => {
      expectError(await send(keeper, 'GET', `/api/token?min_ttl=${encodeURI(value)}`), 400, 'bad_request')
    },
  )

  it('with broken cookies', async () => {
    for (const cookie of ['keeper_session=%', 'keeper_session=%E0%A4%A.x', '__proto__=x; keeper_session', ';;;=']) {
      expectError(await send(keeper, 'GET', '/api/auth/status', { cookie, authorization: '' }), 401, 'unauthorized')
    }
  })

  it('is answered with the security headers, whatever it was', async () => {
    const answers = [
      await send(keeper, 'GET', '/'),
      await send(keeper, 'GET', '/client.js'),
      await send(keeper, 'GET', '/api/health'),
      await send(keeper, 'GET', '/api/token'),
      await send(keeper, 'GET', '/api/auth/status'),
      await send(keeper, 'GET', '/api/auth/status', { authorization: '' }),
      await send(keeper, 'GET', '/nope'),
      await send(keeper, 'PUT', '/'),
      await send(keeper, 'POST', '/api/auth/poll', { body: '7'.repeat(LARGE) }),
    ]
    for (const { headers } of answers) {
      expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' })
      expect(headers['content-security-policy']).toMatch(/^default-src 'none';.*frame-ancestors 'none'/)
      expect(headers['content-security-policy']).not.toContain('unsafe')
      expect(headers).not.toHaveProperty('x-powered-by')
      expect(headers).not.toHaveProperty('access-control-allow-origin')
    }
    for (const { headers } of answers.slice(2)) expect(headers['cache-control']).toBe('no-store')
    expect(answers[5]?.headers['www-authenticate']).toBe('Bearer')
  })
})

/** Every method that a path of routes/ has no file for. Paths with parameters take any method. */
function wrongMethods(): [method: string, path: string][] {
  const files = readdirSync(fileURLToPath(new URL('../../routes', import.meta.url)), {
    recursive: true,
    encoding: 'utf8',
  })
  const routes = files.flatMap((file) => {
    const [, name = '', method = ''] = /^([^[]+)\.(get|post)\.ts$/.exec(file.replaceAll('\\', '/')) ?? []
    return name ? [{ path: `/${name}`.replace(/\/index$/, '/'), method: method.toUpperCase() }] : []
  })
  const known = new Set(routes.map(({ method, path }) => `${method} ${path}`))
  return [...new Set(routes.map(({ path }) => path))].flatMap((path) =>
    ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']
      .filter((method) => !known.has(`${method} ${path}`))
      .map((method): [string, string] => [method, path]),
  )
}

interface FileCase {
  name: string
  put(path: string): void
  message: RegExp
  hint: RegExp
  /** The owner can mend it by signing in again. */
  signIn: boolean
  uid?: number
}

describe.concurrent('a token file that', () => {
  const holds = (content: string | Buffer) => (path: string) => writeFileSync(path, content, { mode: 0o600 })
  const SIGN_IN = { hint: /^Sign in again, or put the right file in its place/, signIn: true }
  const MOVE_AWAY = { hint: /^Move \.yoto_refresh_token away/, signIn: false }
  const FILES: FileCase[] = [
    { name: 'is empty', put: holds(''), message: /is empty/, ...SIGN_IN },
    { name: 'is blank', put: holds(' \n\t'), message: /is empty/, ...SIGN_IN },
    { name: 'is binary', put: holds(randomBytes(999)), message: /is not text/, ...SIGN_IN },
    { name: 'is over 64 kB', put: holds('x'.repeat(65_537)), message: /is larger than 64 kB/, ...SIGN_IN },
    { name: 'is over 1 MB', put: holds('x'.repeat(2_000_000)), message: /is larger than 1 MiB/, ...MOVE_AWAY },
    { name: 'is a directory', put: mkdirSync, message: /is a directory/, ...MOVE_AWAY },
    {
      name: 'belongs to root',
      put: holds('rt-0123456789'),
      message: /annot read .*EACCES/,
      hint: /Give the service the right .*RAILWAY_RUN_UID=0/,
      signIn: false,
      uid: NOBODY,
    },
  ]

  it.for(FILES)('$name', async ({ put, message, hint, signIn, uid }, { skip }) => {
    if (uid !== undefined && process.getuid?.() !== 0) skip('only root can give a file to somebody else')
    const cwd = freshFolder()
    const path = join(cwd, TOKEN_FILE)
    if (uid !== undefined) {
      chownSync(parent, uid, uid)
      chownSync(cwd, uid, uid)
    }
    put(path)
    const content = () => (statSync(path).isFile() ? readFileSync(path, 'latin1') : readdirSync(path))
    const before = content()
    const keeper = await start(cwd, uid)

    const { body: status } = await keeper.json<Record<string, unknown> & { storage: object }>('/api/auth/status')
    expect(status).toMatchObject({
      authenticated: false,
      state: 'needs_sign_in',
      message: expect.stringMatching(message),
      hint: expect.stringMatching(hint),
      storage: { warning: status.message },
    })
    expect(status.message).toMatch(/^.+\.$/)
    const refusal = { error: expect.stringMatching(/needs_sign_in|storage_unavailable/), message: status.message }
    expect((await keeper.json('/api/token')).body).toMatchObject(refusal)
    expect((await keeper.json('/api/auth/refresh', { method: 'POST' })).body).toMatchObject(refusal)
    await waitUntil(() => keeper.log().includes(String(status.message)), { what: 'the log said so' })
    expect(await keeper.json('/api/health')).toMatchObject({ status: 200 })
    expect((await keeper.json('/api/ready')).status).toBe(signIn ? 200 : 503)
    expect(content()).toEqual(before)

    const { status: started, body: login } = await keeper.json<Record<string, string>>('/api/auth/start', {
      method: 'POST',
    })
    if (signIn) {
      yoto.approve(login.user_code ?? '')
      await waitUntil(async () => (await keeper.json('/api/token')).status === 200, { what: 'somebody signed in' })
      const token = readFileSync(path, 'utf8')
      expect(yoto.currentRefreshToken(token)).toBe(token)
      expect(statSync(path).mode & 0o777).toBe(0o600)
      expect(await keeper.json('/api/auth/status')).toMatchObject({ body: { state: 'signed_in' } })
    } else {
      expect(started).toBe(503)
      expect(login).toMatchObject({ error: 'storage_unavailable', hint: expect.stringMatching(hint) })
    }
    await keeper.stop()
    if (!signIn) expect(content()).toEqual(before)
  })

  it('is emptied while somebody is signed in', async () => {
    const cwd = freshFolder()
    writeFileSync(join(cwd, TOKEN_FILE), yoto.seed().refresh_token)
    const keeper = await start(cwd)
    await waitUntil(async () => (await keeper.json('/api/token')).status === 200, { what: 'there is a token' })
    writeFileSync(join(cwd, TOKEN_FILE), '')
    await waitUntil(async () => (await keeper.json('/api/token')).status === 409, {
      what: 'it was noticed',
      timeout: 2_000,
    })
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ state: 'needs_sign_in' })
    expect(readFileSync(join(cwd, TOKEN_FILE), 'utf8')).toBe('')
    await keeper.stop()
  })
})

describe('a start that Yoto answers with', () => {
  let keeper: Keeper
  let cwd: string
  const kept = () =>
    readdirSync(cwd)
      .filter((name) => !/journal|lease/.test(name))
      .map((name) => [name, readFileSync(join(cwd, name), 'utf8')])
  beforeAll(async () => {
    cwd = freshFolder()
    writeFileSync(join(cwd, TOKEN_FILE), yoto.seed().refresh_token)
    keeper = await start(cwd)
    await waitUntil(async () => (await keeper.json('/api/token')).status === 200, { what: 'there is a token' })
  })
  afterAll(() => keeper.stop())

  const changed = (fields: object): Fault => ({ kind: 'replace-json', map: (body) => ({ ...body, ...fields }) })
  const refused = (status: number, error: string): Fault => ({ kind: 'status', status, body: { error } })
  const CASES: [name: string, fault: Fault, status: number, error: string, text: RegExp][] = [
    ['HTML', { kind: 'html-200' }, 502, 'yoto_error', /a JSON object/],
    ['cut JSON', { kind: 'cut-json' }, 502, 'yoto_error', /a JSON object/],
    ['nothing', { kind: 'status', status: 200 }, 502, 'yoto_error', /a JSON object/],
    ['null', { kind: 'replace-json', map: () => null }, 502, 'yoto_error', /a JSON object/],
    ['an empty object', { kind: 'replace-json', map: () => ({}) }, 502, 'yoto_error', /device_code, user_code/],
    ['no device code', changed({ device_code: undefined }), 502, 'yoto_error', /unusable: device_code\)/],
    ['no user code', changed({ user_code: undefined }), 502, 'yoto_error', /unusable: user_code\)/],
    ['no address', changed({ verification_uri: undefined }), 502, 'yoto_error', /unusable: verification_uri\)/],
    ['a number as user code', changed({ user_code: 7 }), 502, 'yoto_error', /unusable: user_code\)/],
    ['no time to live', changed({ expires_in: 0 }), 502, 'yoto_error', /unusable: expires_in\)/],
    ['too long a time to live', changed({ expires_in: 1e300 }), 502, 'yoto_error', /unusable: expires_in\)/],
    ['10 MB', { kind: 'huge' }, 502, 'yoto_error', /64 kB|a JSON object/],
    [
      'unauthorized_client',
      refused(403, 'unauthorized_client'),
      502,
      'yoto_error',
      /"Device Code".*dashboard at yoto\.dev\. Or sign in without a code\./,
    ],
    ['invalid_client', refused(401, 'invalid_client'), 502, 'yoto_error', /YOTO_CLIENT_ID/],
    ['access_denied', refused(403, 'access_denied'), 502, 'yoto_error', /YOTO_SCOPE/],
    ['403 HTML', { kind: 'status', status: 403, body: '<h1>Blocked</h1>' }, 502, 'yoto_error', /403.*YOTO_AUTH_URL/],
    ['429', { kind: 'status', status: 429 }, 502, 'yoto_error', /429.*again in a minute/],
    ['500', { kind: 'status', status: 500, body: 'Oops' }, 502, 'yoto_error', /500.*again in a minute/],
    ['a redirect', { kind: 'redirect', location: '/elsewhere' }, 502, 'yoto_error', /302/],
    ['a broken connection', { kind: 'reset-before' }, 503, 'yoto_unreachable', /again in a minute/],
    ['silence', { kind: 'timeout' }, 504, 'yoto_timeout', /5 seconds.*again in a minute/],
  ]
  it.each(CASES)('%s', async (_, fault, status, error, text) => {
    const before = kept()
    const { body: token } = await keeper.json('/api/token')
    yoto.inject(fault, { path: '/oauth/device/code' })
    const answer = await send(keeper, 'POST', '/api/auth/start')
    expectError(answer, status, error)
    expect(answer.text.replaceAll('\\"', '"')).toMatch(text)
    expect(kept()).toEqual(before)
    expect((await keeper.json('/api/token')).body).toMatchObject({ access_token: token.access_token })
  })

  it('a refused connection, until it is there again', async () => {
    const before = kept()
    await yoto.pause()
    const answer = await send(keeper, 'POST', '/api/auth/start')
    await yoto.resume()
    expectError(answer, 503, 'yoto_unreachable')
    expect(answer.text).toContain('ECONNREFUSED')
    expect(kept()).toEqual(before)
    expect((await send(keeper, 'POST', '/api/auth/start')).status).toBe(200)
  })
})
