import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { beforeAll, expect, it, onTestFinished } from 'vitest'
import { type ApiServer, startApiServer } from '../support/api-server'
import { type StandIn, startStandIn } from '../support/stand-in'
import { buildForCloudflare, envFor, KEY, type Keeper, signIn, startKeeper } from './keeper'

// Calls to Yoto's API by way of workerd: through the Worker, the object and fetch, and back.

const MB = 1024 * 1024
const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

beforeAll(() => buildForCloudflare().then(() => {}))

async function begin(): Promise<{ yoto: StandIn; api: ApiServer; keeper: Keeper }> {
  const yoto = await startStandIn({ interval: 1 })
  const api = await startApiServer()
  onTestFinished(() => Promise.all([yoto.stop(), api.stop()]).then(() => {}))
  const keeper = await startKeeper({ ...envFor(yoto), YOTO_API_URL: api.url })
  await signIn(keeper, yoto.approve)
  return { yoto, api, keeper }
}

it('carries what is asked and answered as it is', async () => {
  const { api, keeper } = await begin()
  const { body: held } = await keeper.json('/api/token')

  const path = '/content/a%2Fb//c+d?x=%20&y=a+b&empty='
  expect((await keeper.fetch(`/api/yoto${path}`, { headers: { cookie: 'a=b', 'x-asked': 'yes' } })).status).toBe(200)
  expect(api.arrivals.at(-1)).toMatchObject({ method: 'GET', target: path, headers: { 'x-asked': 'yes' } })
  const headers = api.arrivals.at(-1)?.headers ?? {}
  expect(headers.authorization).toBe(`Bearer ${held.access_token}`)
  expect(JSON.stringify(headers)).not.toContain(KEY)
  // Cloudflare itself names the Worker's zone.
  for (const name of Object.keys(headers)) expect(name).not.toMatch(/^(cookie|origin|x-forwarded-.*|cf-(?!worker).*)$/)

  const upload = randomBytes(MB)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const sent = { method, body: upload, headers: { 'content-type': 'application/octet-stream' } }
    expect((await keeper.fetch('/api/yoto/upload', sent)).status).toBe(200)
    expect(api.arrivals.at(-1)).toMatchObject({ method, bytes: MB, sha256: hashOf(upload), end: 'whole' })
    expect(api.arrivals.at(-1)?.headers['content-type']).toBe('application/octet-stream')
  }

  for (const method of ['POST', 'DELETE', 'OPTIONS']) {
    expect((await keeper.fetch('/api/yoto/x', { method })).status).toBe(200)
    expect(api.arrivals.at(-1)).toMatchObject({ method, bytes: 0, end: 'whole' })
  }

  const download = randomBytes(MB)
  api.answer = (_, response) => {
    const returning = { 'content-type': 'image/png', 'content-length': MB, etag: '"tag"', 'set-cookie': 'evil=1' }
    response.writeHead(200, { ...returning, 'access-control-allow-origin': '*', 'x-powered-by': 'any' }).end(download)
  }
  const answer = await keeper.fetch('/api/yoto/picture')
  expect(hashOf(new Uint8Array(await answer.arrayBuffer()))).toBe(hashOf(download))
  expect(Object.fromEntries(answer.headers)).toMatchObject({
    'content-type': 'image/png',
    etag: '"tag"',
    'content-security-policy': 'sandbox',
    'x-content-type-options': 'nosniff',
  })
  for (const name of ['set-cookie', 'access-control-allow-origin', 'x-powered-by', 'keeper-error']) {
    expect(answer.headers.get(name), name).toBeNull()
  }

  const head = await keeper.fetch('/api/yoto/picture', { method: 'HEAD' })
  expect([head.status, head.headers.get('etag'), await head.text()]).toEqual([200, '"tag"', ''])
  expect(api.arrivals.at(-1)?.method).toBe('HEAD')
})

it('passes on answers without a body, redirects and refusals', async () => {
  const { api, keeper } = await begin()
  const answerWith = async (
    status: number,
    headers: Record<string, string> = {},
    body?: string,
    init?: RequestInit,
  ) => {
    api.answer = (_, response) => response.writeHead(status, headers).end(body)
    const answer = await keeper.fetch('/api/yoto/x', init)
    return { status: answer.status, headers: answer.headers, text: await answer.text() }
  }
  expect(await answerWith(204)).toMatchObject({ status: 204, text: '' })
  expect(await answerWith(204, {}, undefined, { method: 'DELETE' })).toMatchObject({ status: 204, text: '' })
  const unchanged = await answerWith(304, { etag: '"tag"' }, undefined, { headers: { 'if-none-match': '"tag"' } })
  expect([unchanged.status, unchanged.headers.get('etag'), unchanged.text]).toEqual([304, '"tag"', ''])
  expect(api.arrivals.at(-1)?.headers['if-none-match']).toBe('"tag"')

  for (const init of [{}, { method: 'POST', body: 'x' }]) {
    for (const status of [301, 302, 303, 307, 308]) {
      const before = api.arrivals.length
      const moved = await answerWith(status, { location: 'https://elsewhere.example/x' }, '', init)
      expect([moved.status, moved.headers.get('location')]).toEqual([status, 'https://elsewhere.example/x'])
      expect(api.arrivals.length, 'it is not followed').toBe(before + 1)
    }
  }
  for (const status of [400, 403, 404, 409, 429, 500, 503]) {
    const refused = await answerWith(status, { 'content-type': 'application/json', 'retry-after': '7' }, '{"no":1}')
    expect(refused).toMatchObject({ status, text: '{"no":1}' })
    expect(refused.headers.get('retry-after')).toBe('7')
    expect(refused.headers.get('keeper-error'), "Yoto's and not ours").toBeNull()
  }
  expect(await answerWith(200, { 'content-encoding': 'gzip' }, gzipSync('packed') as unknown as string)).toMatchObject({
    status: 200,
    text: 'packed',
  })
})

it('heals a 401 once, where the call may be repeated', async () => {
  const { yoto, api, keeper } = await begin()
  const { body: held } = await keeper.json('/api/token')
  api.answer = (request, response) => {
    const isOld = request.headers.authorization === `Bearer ${held.access_token}`
    response.writeHead(isOld ? 401 : 200).end(isOld ? 'old' : 'new')
  }
  const answers = await Promise.all(Array.from({ length: 20 }, () => keeper.fetch('/api/yoto/x')))
  for (const answer of answers) expect([answer.status, await answer.text()]).toEqual([200, 'new'])
  expect(yoto.counts.refresh_ok).toBe(1)

  api.answer = (_, response) => response.writeHead(401).end('no')
  const before = api.arrivals.length
  expect((await keeper.fetch('/api/yoto/x', { method: 'POST', body: 'once' })).status).toBe(401)
  expect(api.arrivals.length).toBe(before + 1)
})

it('streams an answer, and says where Yoto breaks off', async () => {
  const { api, keeper } = await begin()
  let end = () => {}
  api.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'audio/mpeg' }).write('first')
    end = () => response.end('last')
  }
  const answer = await keeper.fetch('/api/yoto/stream')
  const reader = answer.body?.getReader()
  expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('first')
  end()
  expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('last')

  api.answer = (request) => request.socket.destroy()
  const broken = await keeper.json('/api/yoto/x')
  expect(broken).toMatchObject({ status: 502, body: { error: 'yoto_error' } })

  await api.stop()
  await sleep(100)
  expect(await keeper.json('/api/yoto/x')).toMatchObject({ status: 502, body: { error: 'yoto_error' } })
})

it('refuses what it does not carry', async () => {
  const { api, keeper } = await begin()
  for (const path of ['/api/yoto', '/api/%79oto/x']) {
    expect(await keeper.json(path), path).toMatchObject({ status: 404, body: { error: 'not_found' } })
  }
  expect(api.arrivals).toEqual([])
})
