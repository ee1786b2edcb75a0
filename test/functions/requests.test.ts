import { createHash, randomBytes } from 'node:crypto'
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ApiServer, startApiServer } from '../support/api-server'
import { type Deployed, KEY, type Preset, setScene } from './scene'

// What a function's entry makes of requests and answers: calls of Yoto's API, which show every byte, and cookies.

const presets: Preset[] = ['vercel', 'netlify', 'aws-lambda']

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
/** Every byte, and what is no UTF-8. */
const BINARY = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, at) => at)), randomBytes(100_000)])

describe.each(presets)('%s', (preset) => {
  let api: ApiServer
  let keeper: Deployed
  const cleanUps: (() => unknown)[] = []
  beforeAll(async () => {
    api = await startApiServer()
    cleanUps.push(() => api.stop())
    const scene = await setScene({ onTestFinished: (clean) => cleanUps.unshift(clean) }, preset, 'valid')
    keeper = await scene.start({ YOTO_API_URL: api.url })
  })
  beforeEach(() => {
    api.answer = (incoming, response) => incoming.once('end', () => response.end('{}'))
  })
  afterAll(async () => {
    for (const clean of cleanUps) await clean()
  })

  /** As it stands: fetch would spell it anew. */
  async function send(path: string, options: RequestOptions = {}, body?: Buffer): Promise<[IncomingMessage, Buffer]> {
    const { hostname, port } = new URL(keeper.url)
    const headers = { authorization: `Bearer ${KEY}`, ...options.headers } as Record<string, string>
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      request({ hostname, port, path, ...options, headers }, resolve)
        .on('error', reject)
        .end(body)
    })
    return [answer, Buffer.concat(await answer.toArray())]
  }

  it.each([
    ['POST', 'application/octet-stream'],
    ['PUT', 'audio/mpeg'],
    ['POST', 'multipart/form-data; boundary=----b'],
    ['PATCH', undefined],
  ])('passes on every byte that is uploaded: %s of %s', async (method, type) => {
    const [answer] = await send('/api/yoto/media', { method, headers: type ? { 'content-type': type } : {} }, BINARY)
    expect(answer.statusCode).toBe(200)
    expect(api.arrivals.at(-1)).toMatchObject({ method, bytes: BINARY.length, sha256: sha256(BINARY), end: 'whole' })
  })

  it.each(['application/octet-stream', 'image/png', 'text/plain; charset=iso-8859-1', 'application/json'])(
    'gives back every byte that is answered: %s',
    async (type) => {
      api.answer = (_, response) => response.writeHead(200, { 'content-type': type }).end(BINARY)
      const [answer, body] = await send('/api/yoto/media')
      expect(answer.headers['content-type']).toBe(type)
      expect(sha256(body)).toBe(sha256(BINARY))
    },
  )

  it('takes text for UTF-8 both ways', async () => {
    api.answer = (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('"Gutenacht ☾"')
    const text = Buffer.from('{"title":"Gutenacht ☾"}')
    const [, body] = await send(
      '/api/yoto/content',
      { method: 'POST', headers: { 'content-type': 'application/json' } },
      text,
    )
    expect(api.arrivals.at(-1)?.sha256).toBe(sha256(text))
    expect(body.toString()).toBe('"Gutenacht ☾"')
  })

  it.each([
    '/a/b?id=1&id=2&id=3',
    '/a?id[]=1&id[]=2&z=&a',
    '/a%2Fb/%C3%A9/%20+?q=a+b%20c&r=%2B%26&s=%E2%98%BE',
    '//a//b///?x=//y',
    '/a;b=1,2/@:!$&()*?q=a=b=c&?=?',
    '/%61bc/%7Eusers',
  ])('passes a path and its query on byte for byte: %s', async (target) => {
    const [answer] = await send(`/api/yoto${target}`)
    expect(answer.statusCode).toBe(200)
    expect(api.arrivals.at(-1)?.target).toBe(target)
  })

  it('reads a query of its own', async () => {
    expect((await send('/api/token?min_ttl=60'))[0].statusCode).toBe(200)
    expect((await send('/api/token?min_ttl=60&min_ttl=61'))[0].statusCode).toBe(400)
    expect((await send('/api/token?min_ttl=x'))[0].statusCode).toBe(400)
  })

  it('lets a browser in with one cookie of several, and sets two', async () => {
    const unlocked = await keeper.fetch('/api/access/unlock', {
      method: 'POST',
      body: JSON.stringify({ key: KEY }),
      headers: { 'content-type': 'application/json' },
    })
    const [session = ''] = unlocked.headers.getSetCookie()
    expect(session).toMatch(/^keeper_session=.*HttpOnly/)
    const cookie = `first=1; ${session.split(';')[0]}; last=a=b`
    const page = { cookie, host: new URL(keeper.url).host }
    const [status, body] = await send('/api/auth/status', { headers: { ...page, authorization: '' } })
    expect(status.statusCode).toBe(200)
    expect(JSON.parse(body.toString()).state).toBe('signed_in')
    expect(status.headers['set-cookie']).toBeUndefined()
    const [locked] = await send('/api/access/lock', { method: 'POST', headers: { ...page, authorization: '' } })
    expect(locked.headers['set-cookie']?.join()).toMatch(/keeper_session=;/)
    expect((await send('/api/auth/status', { headers: { ...page, authorization: '' } }))[0].statusCode).toBe(401)
  })

  it('answers without a body where there is none', async () => {
    api.answer = (_, response) => response.writeHead(204).end()
    const [answer, body] = await send('/api/yoto/gone', { method: 'DELETE' })
    expect([answer.statusCode, body.length]).toEqual([204, 0])
    api.answer = (_, response) => response.writeHead(302, { location: 'https://elsewhere.example/a?b=1' }).end()
    const [away] = await send('/api/yoto/away')
    expect([away.statusCode, away.headers.location]).toEqual([302, 'https://elsewhere.example/a?b=1'])
  })

  it('refuses a body that is too large', async () => {
    const headers = { 'content-type': 'application/json' }
    const [answer] = await send('/api/auth/poll', { method: 'POST', headers }, Buffer.alloc(100_000, ' '))
    expect(answer.statusCode).toBe(413)
  })
})
