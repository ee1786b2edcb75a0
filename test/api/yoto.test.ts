import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import {
  Agent,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
  request,
  type ServerResponse,
} from 'node:http'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { FOR_REFRESH, type Scene, setScene } from '../faults/scene'
import { type ApiServer, type Handler, startApiServer } from '../support/api-server'
import type { Keeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

// Calls to Yoto's API by way of the service: what arrives there, and what comes back.

const OWNER = 'owner-key-0123456789'
const TOOL = 'tool-key-0123456789'
const MB = 1024 * 1024

interface Stage extends Scene {
  api: ApiServer
}

type Context = Parameters<typeof setScene>[0]

async function setStage(context: Context, access: 'valid' | 'expired'): Promise<Stage> {
  const api = await startApiServer()
  context.onTestFinished(() => api.stop())
  const scene = await setScene(context, access)
  const env = { YOTO_API_URL: api.url, KEEPER_KEY: OWNER, KEEPER_TOOL_KEYS: `tool:${TOOL}` }
  return { ...scene, api, start: () => scene.start(env) }
}

/** Signed in, with a token that is good for hours. */
async function begin(context: Context): Promise<Stage & { keeper: Keeper }> {
  const stage = await setStage(context, 'valid')
  return { ...stage, keeper: await stage.start() }
}

/** For tests that leave the sign-in as it is. */
let shared: Awaited<ReturnType<typeof begin>>
const cleanUps: (() => unknown)[] = []
beforeAll(async () => {
  shared = await begin({ onTestFinished: (clean) => cleanUps.unshift(clean) })
})
beforeEach(() => {
  shared.api.answer = (incoming, response) => incoming.once('end', () => response.end('{}'))
})
afterAll(async () => {
  for (const clean of cleanUps) await clean()
})

interface Answer {
  status: number
  message: string
  headers: IncomingHttpHeaders
  body: Buffer
}

type Call = RequestOptions & { body?: string | Buffer }

/** As written: fetch would tidy the path and the headers. */
function open(keeper: Keeper, path: string, options: RequestOptions = {}) {
  const { hostname, port } = new URL(keeper.url)
  const headers = { authorization: `Bearer ${TOOL}`, ...options.headers }
  const outgoing = request({ hostname, port, path, agent: false, ...options, headers })
  outgoing.on('error', () => {})
  return outgoing
}

async function call(keeper: Keeper, path: string, { body, ...options }: Call = {}): Promise<Answer> {
  const outgoing = open(keeper, path, options)
  outgoing.end(body)
  return answerTo(outgoing)
}

async function answerTo(outgoing: ClientRequest): Promise<Answer> {
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk)
  return {
    status: answer.statusCode ?? 0,
    message: answer.statusMessage ?? '',
    headers: answer.headers,
    body: Buffer.concat(chunks),
  }
}

/** 1,000 callers, connected a hundred at a time, as the kernel's queue is not that long; then they wait together. */
async function callBy1000(keeper: Keeper, path: string): Promise<Promise<Answer>[]> {
  const answers: Promise<Answer>[] = []
  for (let wave = 0; wave < 10; wave++) {
    const outgoing = Array.from({ length: 100 }, () => open(keeper, path))
    answers.push(...outgoing.map(answerTo))
    for (const one of outgoing) one.end()
    await Promise.all(outgoing.map((one) => once(one, 'finish')))
  }
  return answers
}

const sha256 = (data: Buffer | string) => createHash('sha256').update(data).digest('hex')
const say =
  (status: number, headers: Record<string, string | string[]> = {}, body = ''): Handler =>
  (incoming, response) => {
    incoming.resume()
    response.writeHead(status, headers).end(body)
  }

describe('what arrives at Yoto', () => {
  it.each(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'REPORT', 'M-SEARCH'])(
    'is a %s, with a valid token and without our key',
    async (method) => {
      const { keeper, api, first } = shared
      const before = api.arrivals.length
      const { status, headers } = await call(keeper, '/api/yoto/v1/things', { method })
      expect(status).toBe(200)
      expect(headers).not.toHaveProperty('keeper-error')
      expect(api.arrivals.slice(before)).toMatchObject([
        { method, target: '/v1/things', headers: { authorization: `Bearer ${first.access_token}` }, bytes: 0 },
      ])
      expect(JSON.stringify(api.arrivals.at(-1))).not.toContain(TOOL)
    },
  )

  it.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'REPORT'])(
    'is the body of a %s: none, an empty one, one byte, of known and of unknown length',
    async (method) => {
      const { keeper, api } = shared
      const cases = [
        { body: undefined, headers: {} },
        { body: '', headers: { 'content-length': '0' } },
        { body: 'x', headers: { 'content-length': '1' } },
        { body: 'x', headers: { 'transfer-encoding': 'chunked' } },
        { body: '', headers: { 'transfer-encoding': 'chunked' } },
        { body: randomBytes(300_000), headers: { 'content-length': '300000' } },
        { body: randomBytes(300_000), headers: { 'transfer-encoding': 'chunked' } },
      ]
      for (const { body, headers } of cases) {
        const { status } = await call(keeper, '/api/yoto/upload', { method, headers, body })
        expect(status).toBe(200)
        const sent = body ?? ''
        expect(api.arrivals.at(-1)).toMatchObject({ method, bytes: sent.length, sha256: sha256(sent), end: 'whole' })
        // Some servers take no chunks: a length that is known goes along.
        if ('content-length' in headers && sent.length > 0) {
          expect(api.arrivals.at(-1)?.headers).toMatchObject({ 'content-length': headers['content-length'] })
        }
      }
    },
  )

  it.each([
    ...['/', '/v1/a%2Fb', '/v1//a', '//v1', '//evil.example/x', '/v1/a/', '/@evil.example', '/v1/%E2%98%83', '/a%00b'],
    ...[
      '/v1/a+b%20c',
      '/v1/a;b=c',
      '/v1/a:b@c',
      '/v1/~a',
      "/v1/('a')*!",
      '/v1/%61',
      '/.../a',
      '/a..b',
      '/..a',
      '/%2f%2e',
    ],
    ...[
      '/v1?',
      '/v1??a',
      '/v1?a=b&a=c&a',
      '/v1?a=%2F..%2F',
      '/v1?url=http://x/../y',
      '/v1?a=b+c%20d',
      '/v1?/../',
      '/?',
    ],
    ...['/https://evil.example/', '/%5c', '/%23', '/api/yoto/api/yoto', '/|', '/[a]', '/$&,='],
    `/${'long/'.repeat(1_600)}`,
    `/v1?${'q'.repeat(8_000)}`,
  ])('is the path %s, byte for byte', async (path) => {
    const { keeper, api } = shared
    const before = api.arrivals.length
    expect((await call(keeper, `/api/yoto${path}`)).status).toBe(200)
    expect(api.arrivals.slice(before).map(({ target }) => target)).toEqual([path])
  })

  it.each([
    ...['/..', '/.', '/../', '/a/../b', '/a/./b', '/a/..', '/%2e%2e/a', '/.%2E/a', '/%2e/a', '/a/%2E%2e'],
    ...['/a\\b', '/\\evil.example', '/a/..\\b', '/a#b', '/a#', '/a?b#c', '/"', '/a?"', '/<a>', '/{a}'],
  ])('is never the path %s, which a URL parser would rewrite', async (path) => {
    const { keeper, api } = shared
    const before = api.arrivals.length
    const { status, headers, body } = await call(keeper, `/api/yoto${path}`)
    expect({ status, code: headers['keeper-error'] }).toEqual({ status: 400, code: 'bad_request' })
    expect(JSON.parse(body.toString())).toMatchObject({ error: 'bad_request', hint: expect.stringMatching(/encode/) })
    expect(api.arrivals.length).toBe(before)
  })

  it.each(['/caf\u00e9', '/a?\u00e9', '/\u2603'])('is never the path %s, which no URL can be', async (path) => {
    const { keeper, api } = shared
    const before = api.arrivals.length
    const bytes = Buffer.from(`GET /api/yoto${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOOL}\r\n\r\n`)
    const socket = connect(Number(new URL(keeper.url).port), '127.0.0.1')
    socket.end(bytes)
    const [answer] = await once(socket, 'data')
    expect(String(answer)).toMatch(/^HTTP\/1\.1 400 /) // Node's own
    socket.destroy()
    expect(api.arrivals.length).toBe(before)
  })

  it.each(['/%61pi/yoto/v1', '/api%2Fyoto/v1', '/API/yoto/v1', '/api/yotoo/v1', '/api//yoto/v1'])(
    'is nothing from %s, another spelling of our own path',
    async (path) => {
      const { keeper, api } = shared
      const before = api.arrivals.length
      const { status, headers } = await call(keeper, path, { headers: { authorization: `Bearer ${OWNER}` } })
      expect({ status, code: headers['keeper-error'] }).toEqual({ status: 404, code: 'not_found' })
      expect(api.arrivals.length).toBe(before)
    },
  )

  it('is no method that would show the token', async () => {
    const { keeper, api } = shared
    const before = api.arrivals.length
    const { status, headers } = await call(keeper, '/api/yoto/v1', { method: 'TRACE' })
    expect({ status, code: headers['keeper-error'] }).toEqual({ status: 405, code: 'method_not_allowed' })
    expect(api.arrivals.length).toBe(before)
  })

  it('has the headers that say what is wanted, and none that say who wants it', async () => {
    const { keeper, api } = shared
    const wanted = {
      accept: 'application/json',
      'accept-encoding': 'gzip, br',
      'accept-language': 'de',
      'content-type': 'application/x-thing',
      'if-none-match': '"1"',
      'if-modified-since': 'Tue, 24 Nov 2026 00:00:00 GMT',
      range: 'bytes=0-1',
      'user-agent': 'tool/1',
      'x-custom': 'a, b',
      'x-http-method-override': 'GET',
      'idempotency-key': '1',
    }
    const kept = {
      authorization: `Bearer ${OWNER}`,
      cookie: 'keeper_session=x; other=y',
      origin: 'https://tool.example',
      referer: 'https://tool.example/page',
      connection: 'close, x-hop',
      'x-hop': '1',
      'keep-alive': 'timeout=5',
      te: 'trailers',
      trailer: 'x-end',
      upgrade: 'websocket',
      expect: '100-continue',
      'proxy-authorization': 'Basic eDp5',
      'proxy-connection': 'keep-alive',
      via: '1.1 proxy',
      forwarded: 'for=192.0.2.1',
      'x-forwarded-for': '192.0.2.1',
      'x-forwarded-host': 'keeper.example',
      'x-forwarded-proto': 'https',
      'x-real-ip': '192.0.2.1',
      'x-client-ip': '192.0.2.1',
      'true-client-ip': '192.0.2.1',
      'cf-connecting-ip': '192.0.2.1',
      'x-railway-edge': 'x',
      'x-envoy-external-address': '192.0.2.1',
      'x-dev-peer': '127.0.0.1',
      'sec-fetch-site': 'same-origin',
      'access-control-request-method': 'GET',
    }
    await call(keeper, '/api/yoto/v1', { method: 'POST', headers: { ...wanted, ...kept }, body: 'x' })
    const { headers } = api.arrivals.at(-1) ?? {}
    expect(headers).toMatchObject(wanted)
    const own = ['authorization', 'connection', 'host', 'transfer-encoding']
    expect(Object.keys(headers ?? {}).sort()).toEqual([...Object.keys(wanted), ...own].sort())
    expect(headers?.host).toBe(new URL(api.url).host)
    expect(JSON.stringify(headers)).not.toMatch(/192\.0\.2\.1|tool\.example|keeper\.example|keeper_session/)
  })

  it('is nothing without a key, and nothing while nobody is signed in', async (context) => {
    const { keeper, api } = shared
    const before = api.arrivals.length
    expect((await call(keeper, '/api/yoto/v1', { headers: { authorization: '' } })).status).toBe(401)
    expect(api.arrivals.length).toBe(before)

    const stage = await begin(context)
    await stage.keeper.json('/api/auth/logout', { method: 'POST' })
    const { status, headers, body } = await call(stage.keeper, '/api/yoto/v1')
    expect({ status, code: headers['keeper-error'] }).toEqual({ status: 409, code: 'signed_out' })
    expect(JSON.parse(body.toString())).toMatchObject({ error: 'signed_out', hint: expect.any(String) })
    expect(stage.api.arrivals).toEqual([])
  })
})

describe('what comes back', () => {
  it.each([200, 201, 202, 204, 206, 304, 400, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504])(
    'is a %s as Yoto gave it',
    async (status) => {
      const { keeper, api } = shared
      const body = [204, 304].includes(status) ? '' : '{"error":"signed_out","from":"yoto"}'
      api.answer = say(status, { 'content-type': 'application/problem+json', 'retry-after': '7' }, body)
      const answer = await call(keeper, '/api/yoto/v1')
      expect(answer.status).toBe(status)
      expect(answer.body.toString()).toBe(body)
      expect(answer.headers).toMatchObject({ 'content-type': 'application/problem+json', 'retry-after': '7' })
      expect(answer.headers).not.toHaveProperty('keeper-error') // only ours have it
    },
  )

  it.each([301, 302, 303, 307, 308])('is a redirect %s, which nobody here follows', async (status) => {
    const { keeper, api } = shared
    const location = `${api.url}/elsewhere?a=b`
    for (const body of [undefined, 'x'.repeat(200_000)]) {
      const before = api.arrivals.length
      api.answer = say(status, { location })
      const answer = await call(keeper, '/api/yoto/v1', { method: 'POST', body })
      expect(answer).toMatchObject({ status, headers: { location } })
      expect(api.arrivals.length).toBe(before + 1)
    }
  })

  it('has the headers that are known to be good, and no others', async () => {
    const { keeper, api } = shared
    const good = {
      'content-type': 'text/html',
      'content-language': 'de',
      'content-disposition': 'attachment; filename="a"',
      etag: '"1"',
      'last-modified': 'Tue, 24 Nov 2026 00:00:00 GMT',
      'accept-ranges': 'bytes',
      'x-request-id': '1',
      'x-ratelimit-remaining': '9',
    }
    const bad = {
      'set-cookie': ['keeper_session=stolen', 'a=b; Path=/'],
      'access-control-allow-origin': '*',
      'access-control-allow-credentials': 'true',
      'content-security-policy': "default-src *; script-src 'unsafe-inline'",
      'clear-site-data': '"*"',
      'cache-control': 'public, max-age=31536000',
      'strict-transport-security': 'max-age=0',
      'service-worker-allowed': '/',
      'www-authenticate': 'Basic realm="yoto"',
      'keeper-error': 'unauthorized',
      'alt-svc': 'h3=":443"',
      refresh: '0; url=https://evil.example',
      link: '<https://evil.example>; rel=preload',
      'x-custom': '1',
    }
    api.answer = say(200, { ...good, ...bad }, '<script>alert(1)</script>')
    const { headers } = await call(keeper, '/api/yoto/v1')
    expect(headers).toMatchObject({
      ...good,
      'content-security-policy': 'sandbox',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    })
    for (const name of Object.keys(bad)) {
      if (!['content-security-policy', 'cache-control'].includes(name)) expect(headers).not.toHaveProperty(name)
    }
  })

  it('is compressed where the caller asked for it, and a range where it asked for that', async () => {
    const { keeper, api } = shared
    const packed = randomBytes(1_000)
    api.answer = (_, response) =>
      response.writeHead(200, { 'content-encoding': 'br', 'content-length': '1000' }).end(packed)
    const answer = await call(keeper, '/api/yoto/v1', { headers: { 'accept-encoding': 'br' } })
    expect(answer.headers).toMatchObject({ 'content-encoding': 'br', 'content-length': '1000' })
    expect(sha256(answer.body)).toBe(sha256(packed))

    api.answer = (_, response) =>
      response.writeHead(206, { 'content-range': 'bytes 0-9/1000' }).end(packed.subarray(0, 10))
    const part = await call(keeper, '/api/yoto/v1', { headers: { range: 'bytes=0-9' } })
    expect(part).toMatchObject({ status: 206, headers: { 'content-range': 'bytes 0-9/1000' } })
    expect(part.body.length).toBe(10)
  })

  it('is an error of ours, in our shape, where Yoto cannot be reached or breaks off', async (context) => {
    const { keeper, api } = await begin(context)
    const ask = async () => {
      const { status, headers, body } = await call(keeper, '/api/yoto/v1', { method: 'POST', body: 'x' })
      const { error, message } = JSON.parse(body.toString())
      expect(headers['keeper-error']).toBe(error)
      return { status, error, message }
    }
    api.answer = (incoming) => incoming.socket.destroy()
    expect(await ask()).toMatchObject({
      status: 502,
      error: 'yoto_error',
      message: expect.stringContaining('may have been'),
    })
    api.answer = (incoming) => incoming.socket.end('no HTTP at all\r\n\r\n')
    expect(await ask()).toMatchObject({ status: 502, error: 'yoto_error' })
    await api.stop()
    expect(await ask()).toMatchObject({
      status: 503,
      error: 'yoto_unreachable',
      message: expect.stringContaining('ECONNREFUSED'),
    })
  })

  it('breaks off where Yoto breaks off in the middle, rather than look whole', async () => {
    const { keeper, api } = shared
    for (const headers of [{ 'content-length': '1000' }, {}]) {
      api.answer = (incoming, response) => {
        response.writeHead(200, headers)
        response.write('half', () => incoming.socket.destroy())
      }
      await expect(call(keeper, '/api/yoto/v1')).rejects.toThrow(/aborted/)
    }
    api.answer = say(200)
    expect((await call(keeper, '/api/yoto/v1')).status).toBe(200)
  })

  it.each(['GET', 'PUT', 'DELETE', 'OPTIONS'])(
    'is asked for once more with %s where a kept connection was closed just then',
    async (method) => {
      const { keeper, api } = shared
      const before = api.arrivals.length
      api.answer = oncePerConnection()
      let made = 0
      const isRepeated = async () => {
        made++
        expect((await call(keeper, '/api/yoto/v1', { method })).status).toBe(200)
        return api.arrivals.length > before + made
      }
      await waitUntil(isRepeated, { what: 'a call had met a closed connection' })
      expect(api.arrivals.length).toBe(before + made + 1)
    },
  )

  it('is never asked for twice where that could do it twice', async () => {
    const { keeper, api } = shared
    api.answer = oncePerConnection()
    const before = api.arrivals.length
    for (const body of [undefined, 'x', undefined, 'x']) {
      for (const method of ['POST', 'PATCH']) {
        expect((await call(keeper, '/api/yoto/v1', { method, body })).status).toBe(200)
      }
    }
    expect(api.arrivals.length).toBe(before + 8) // each on a connection of its own
  })
})

/** The second request on a connection finds it closed. */
function oncePerConnection(): Handler {
  const seen = new WeakSet<object>()
  return (incoming, response) => {
    if (seen.has(incoming.socket)) return incoming.socket.destroy()
    seen.add(incoming.socket)
    incoming.once('end', () => response.end('{}'))
  }
}

describe('a body of 100 MB', () => {
  const block = randomBytes(MB)
  const whole = () => {
    const hash = createHash('sha256')
    for (let n = 0; n < 100; n++) hash.update(block)
    return hash.digest('hex')
  }
  const blocks = function* (count = 100) {
    for (let n = 0; n < count; n++) yield block
  }
  /** Bytes of memory; the highest since the last call. */
  const peak = ({ pid }: Keeper) => {
    const [, kB] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    writeFileSync(`/proc/${pid}/clear_refs`, '5')
    return Number(kB) * 1024
  }
  const upload = async (keeper: Keeper, headers: Record<string, string>) => {
    const outgoing = open(keeper, '/api/yoto/upload', { method: 'PUT', headers })
    const answered = once(outgoing, 'response')
    await pipeline(Readable.from(blocks()), outgoing)
    const [answer] = (await answered) as [IncomingMessage]
    answer.resume()
    return answer.statusCode
  }
  const download = async (keeper: Keeper, slowly = async (_: number) => {}) => {
    const outgoing = open(keeper, '/api/yoto/download')
    outgoing.end()
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
    const hash = createHash('sha256')
    let bytes = 0
    for await (const chunk of answer) {
      hash.update(chunk)
      bytes += chunk.length
      await slowly(bytes)
    }
    return { bytes, sha256: hash.digest('hex') }
  }
  const send =
    (headers = {}): Handler =>
    (_, response) => {
      response.writeHead(200, headers)
      pipeline(Readable.from(blocks()), response).catch(() => {})
    }

  it.skipIf(process.platform !== 'linux')(
    'goes up and down in flat memory, of known and unknown length',
    async (context) => {
      const { keeper, api } = await begin(context)
      // Once, so that what is loaded and allocated at first is not counted.
      await upload(keeper, { 'transfer-encoding': 'chunked' })
      api.answer = send()
      await download(keeper)

      const before = peak(keeper) && peak(keeper)
      const length = { 'content-length': String(100 * MB) }
      api.answer = (incoming, response) => incoming.once('end', () => response.end('{}'))
      expect(await upload(keeper, length)).toBe(200)
      expect(await upload(keeper, { 'transfer-encoding': 'chunked' })).toBe(200)
      expect(api.arrivals.slice(-2)).toMatchObject([{ bytes: 100 * MB }, { bytes: 100 * MB }])
      expect(api.arrivals.at(-1)?.sha256).toBe(whole())
      const up = peak(keeper)

      for (const headers of [length, {}]) {
        api.answer = send(headers)
        expect(await download(keeper)).toEqual({ bytes: 100 * MB, sha256: whole() })
      }
      const down = peak(keeper)
      console.log(`100 MB: memory ${megabytes(before)} before, ${megabytes(up)} at most up, ${megabytes(down)} down`)
      expect(Math.max(up, down)).toBeLessThan(before + 30 * MB)
    },
  )

  it('to a slow reader waits for it, at Yoto too', async (context) => {
    const { keeper, api } = await begin(context)
    let sent = 0
    api.answer = (_, response) => {
      response.writeHead(200)
      const counted = function* () {
        for (const one of blocks()) {
          sent += one.length
          yield one
        }
      }
      pipeline(Readable.from(counted()), response).catch(() => {})
    }
    // Nothing moves any more until the reader goes on.
    const isStill = async () => {
      const [before] = [sent, await (await keeper.fetch('/api/health')).text(), await keeper.json('/api/token')]
      return sent === before && sent > 0
    }
    let stopped = 0
    await download(keeper, async (bytes) => {
      if (stopped > 0 || bytes < MB) return
      await waitUntil(isStill, { what: 'Yoto had been stopped' })
      stopped = sent
    }).then((all) => expect(all.bytes).toBe(100 * MB))
    expect(stopped).toBeLessThan(50 * MB)
    expect(sent).toBe(100 * MB)
  })
})

const megabytes = (bytes: number) => `${Math.round(bytes / MB)} MB`

describe('a caller that goes away', () => {
  it('while Yoto thinks: the call there is given up', async () => {
    const { keeper, api } = shared
    let broken = false
    api.answer = (_, response) => response.once('close', () => (broken = true))
    const before = api.arrivals.length
    const outgoing = open(keeper, '/api/yoto/v1')
    outgoing.end()
    await waitUntil(() => api.arrivals.length > before, { what: 'the call had arrived' })
    outgoing.destroy()
    await waitUntil(() => broken, { what: 'the call was given up' })
  })

  it('in the middle of an upload: Yoto does not take it for whole', async () => {
    const { keeper, api } = shared
    api.answer = () => {}
    for (const headers of [{ 'content-length': '1000000' }, { 'transfer-encoding': 'chunked' }]) {
      const before = api.arrivals.length
      const outgoing = open(keeper, '/api/yoto/v1', { method: 'POST', headers })
      outgoing.write('x'.repeat(1000))
      await waitUntil(() => api.arrivals[before]?.bytes === 1000, { what: 'the first part had arrived' })
      outgoing.destroy()
      await waitUntil(() => api.arrivals[before]?.end === 'broken', { what: 'the upload was broken off' })
    }
  })

  it('in the middle of a download: Yoto is told', async () => {
    const { keeper, api } = shared
    let broken = false
    api.answer = (_, response) => {
      response.once('close', () => (broken = !response.writableFinished))
      response.write('the beginning')
    }
    const outgoing = open(keeper, '/api/yoto/v1')
    outgoing.end()
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
    await once(answer, 'data')
    answer.destroy()
    await waitUntil(() => broken, { what: 'Yoto was told' })
  })
})

describe('an upload', () => {
  it('that Yoto refuses before it is whole is answered with that refusal', async () => {
    const { keeper, api } = shared
    const refuse = (response: ServerResponse) => response.writeHead(413).end('too much')
    const servers: Handler[] = [
      (_, response) => refuse(response), // throws the rest away
      (incoming, response) => refuse(response) && incoming.pause(), // leaves it where it is
    ]
    for (const answer of servers) {
      for (const headers of [{ 'content-length': '5000000' }, { 'transfer-encoding': 'chunked' }]) {
        api.answer = answer
        const body = randomBytes(5_000_000)
        const refused = await call(keeper, '/api/yoto/v1', { method: 'POST', headers, body })
        expect({ status: refused.status, body: refused.body.toString() }).toEqual({ status: 413, body: 'too much' })
      }
    }
  })

  it('and its answer may go on at the same time', async () => {
    const { keeper, api } = shared
    api.answer = (incoming, response) =>
      incoming.on('data', (chunk) => response.write(chunk)).once('end', () => response.end())
    const outgoing = open(keeper, '/api/yoto/v1', { method: 'POST', headers: { 'transfer-encoding': 'chunked' } })
    outgoing.write('one')
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
    const said: string[] = []
    answer.on('data', (chunk) => said.push(String(chunk)))
    const ended = once(answer, 'end')
    await waitUntil(() => said.length === 1, { what: 'the beginning was back before the end was sent' })
    outgoing.end('two')
    await ended
    expect(said).toEqual(['one', 'two'])
  })
})

describe('a 401 from Yoto', () => {
  const REFUSED = '{"error":"unauthorized","from":"yoto"}'
  /** Accepts every token but those. */
  const refusing =
    (...tokens: string[]): Handler =>
    (incoming, response) => {
      const isRefused = tokens.some((token) => incoming.headers.authorization === `Bearer ${token}`)
      incoming.resume().once('end', () => response.writeHead(isRefused ? 401 : 200).end(isRefused ? REFUSED : '{}'))
    }
  const refuseAll: Handler = say(401, {}, REFUSED)

  it('is healed by one refresh, and the request made again', async (context) => {
    const { keeper, api, yoto, first } = await begin(context)
    api.answer = refusing(first.access_token)
    for (const method of ['GET', 'POST', 'DELETE'])
      expect((await call(keeper, '/api/yoto/v1', { method })).status).toBe(200)
    expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
    expect(api.arrivals.map(({ method }) => method)).toEqual(['GET', 'GET', 'POST', 'DELETE'])
    const { body } = await keeper.json('/api/token')
    expect(api.arrivals.at(-1)?.headers.authorization).toBe(`Bearer ${body.access_token}`)
  })

  it('for 1,000 callers at once is one refresh', async (context) => {
    const { keeper, api, yoto, first } = await begin(context)
    const refuse: (() => void)[] = []
    api.answer = (incoming, response) => {
      if (incoming.headers.authorization !== `Bearer ${first.access_token}`) return response.end('{}')
      refuse.push(() => response.writeHead(401).end(REFUSED))
    }
    const answers = await callBy1000(keeper, '/api/yoto/v1')
    await waitUntil(() => refuse.length === 1_000, { what: 'every call had arrived', timeout: 45_000 })
    for (const one of refuse) one()
    expect(new Set((await Promise.all(answers)).map(({ status }) => status))).toEqual(new Set([200]))
    expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
  })

  it('that a refresh does not heal passes through, and costs one refresh however often it comes', async (context) => {
    const { keeper, api, yoto } = await begin(context)
    api.answer = refuseAll
    for (let times = 0; times < 5; times++) {
      const { status, headers, body } = await call(keeper, '/api/yoto/v1')
      expect({ status, body: body.toString() }).toEqual({ status: 401, body: REFUSED })
      expect(headers).not.toHaveProperty('keeper-error')
      expect(headers).not.toHaveProperty('www-authenticate')
    }
    expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
    expect(api.arrivals.length).toBe(2 + 4)
  })

  it('to an upload passes through, as its body has been sent; the next one goes well', async (context) => {
    const { keeper, api, yoto, first } = await begin(context)
    api.answer = refusing(first.access_token)
    const upload = () => call(keeper, '/api/yoto/v1', { method: 'POST', body: 'x' })
    expect((await upload()).status).toBe(401)
    expect((await upload()).status).toBe(200)
    expect(yoto.counts.refresh_ok).toBe(1)
    expect(api.arrivals.length).toBe(2)
  })

  it('about a token that another call has already replaced is no reason to refresh', async (context) => {
    const { keeper, api, yoto, first } = await begin(context)
    const held: (() => void)[] = []
    api.answer = (incoming, response) => {
      if (incoming.url === '/slow') held.push(() => response.writeHead(401).end(REFUSED))
      else refusing(first.access_token)(incoming, response, api.arrivals[0] as never)
    }
    const slow = call(keeper, '/api/yoto/slow')
    await waitUntil(() => held.length === 1, { what: 'the slow call had arrived' })
    expect((await call(keeper, '/api/yoto/v1')).status).toBe(200)
    api.answer = refusing(first.access_token)
    held[0]?.()
    expect((await slow).status).toBe(200)
    expect(yoto.counts.refresh_ok).toBe(1)
  })

  it('passes through where Yoto refuses the refresh too', async (context) => {
    const { keeper, api, yoto } = await begin(context)
    api.answer = refuseAll
    yoto.inject({ kind: 'status', status: 403, body: { error: 'invalid_grant' } }, { times: 9 })
    expect((await call(keeper, '/api/yoto/v1')).body.toString()).toBe(REFUSED)
    expect((await call(keeper, '/api/yoto/v1')).body.toString()).toBe(REFUSED)
    expect(await keeper.json('/api/auth/status')).toMatchObject({ body: { state: 'needs_sign_in' } })
  })
})

it('1,000 calls at the moment of expiry: one refresh, and every call has the new token', async (context) => {
  const { start, api, yoto, first } = await setStage(context, 'expired')
  yoto.inject({ kind: 'delay', ms: 2_000 }, FOR_REFRESH) // in which most of them come
  const keeper = await start()
  const answers = await callBy1000(keeper, '/api/yoto/v1')
  expect(new Set((await Promise.all(answers)).map(({ status }) => status))).toEqual(new Set([200]))
  expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
  const used = new Set(api.arrivals.map(({ headers }) => headers.authorization))
  expect(used.size).toBe(1)
  expect(used).not.toContain(`Bearer ${first.access_token}`)
})

it('connections are kept for longer than proxies do, so that none is closed as it is used again', async () => {
  const { keeper } = shared
  const { headers } = await call(keeper, '/api/yoto/v1', { agent: new Agent({ keepAlive: true, timeout: 1_000 }) })
  expect(headers['keep-alive']).toBe('timeout=65')
})

it('the journal says which tool called', async () => {
  const { keeper } = shared
  const { body } = await keeper.json<{ events: { message: string }[] }>('/api/journal')
  expect(body.events.map(({ message }) => message)).toContain('tool asked.')
})
