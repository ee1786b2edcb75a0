import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { TokenStore } from '../../storage'
import { openUpstash } from '../../storage/upstash'
import { type RedisServer, startRedis } from '../support/redis'
import { startUpstashAdapter, type UpstashAdapter } from '../support/upstash-adapter'
import { leaseConformance } from './lease-conformance'
import { storeConformance } from './store-conformance'

const KEY = '.yoto_refresh_token'
const MODULE = new URL('../support/upstash-adapter.ts', import.meta.url).href

let redis: RedisServer
let upstash: UpstashAdapter
let stores = 0
beforeAll(async () => {
  redis = await startRedis()
  upstash = await startUpstashAdapter(redis.url)
})
beforeEach(() => {
  upstash.instead = undefined
})
afterAll(async () => {
  await upstash.stop()
  await redis.stop()
})

function openStore(environment = `test-${++stores}`, options = {}): TokenStore {
  const { url, token } = upstash
  return openUpstash({ url, token, ...options }, environment).store
}

storeConformance('Upstash', () => ({ store: openStore(), end() {} }))

leaseConformance('Upstash', () => {
  const environment = `test-${++stores}`
  const { url, token } = upstash
  const backend = openUpstash(upstash, environment)
  return {
    here: () => backend.lease('token'),
    other: () => backend.lease('journal'),
    elsewhere: { module: MODULE, open: 'leaseOver', args: [url, token, environment, 'token'] },
    end() {},
  }
})

/** What comes of a read; it must come soon, and have no secret in it. */
async function failure(store: TokenStore) {
  const began = performance.now()
  const error = await store.read(KEY).then(
    () => undefined,
    (error) => error,
  )
  expect(performance.now() - began).toBeLessThan(2_500)
  const everything = JSON.stringify([error, error.message, error.hint, error.stack, error.cause])
  expect(everything).not.toMatch(/nobody-may-see|wrong-token|a-stored-secret|http:/)
  return error
}

describe('Upstash', () => {
  it('keeps environments apart', async () => {
    await openStore('production').write(KEY, 'one')
    await openStore('preview').write(KEY, 'two')
    expect(await openStore('production').read(KEY)).toBe('one')
    expect(await openStore('preview').keys()).toEqual([KEY])
    expect(await redis.client.get(`preview:${KEY}`)).toBe('two')
  })

  it('reads with what goes to the primary: one command a read, and no plain GET', async () => {
    const store = openStore()
    const before = upstash.count
    await redis.client.config('RESETSTAT')
    await store.read(KEY)
    expect(upstash.count).toBe(before + 1)
    expect(await redis.client.info('commandstats')).toMatch(/cmdstat_eval:calls=1,/)
  })

  it('reads and writes so often a second', async () => {
    const store = openStore()
    const began = performance.now()
    for (let time = 0; time < 200; time++) {
      await store.write(KEY, String(time), time === 0 ? null : String(time - 1))
      await store.read(KEY)
    }
    console.log(`Upstash: ${Math.round(400 / ((performance.now() - began) / 1000))} operations a second, one by one`)
  })

  it('that does not know the token is told with the variable', async () => {
    expect(await failure(openStore('production', { token: 'wrong-token' }))).toMatchObject({
      code: 'unavailable',
      message: `Upstash at ${new URL(upstash.url).host} does not let this service in`,
      hint: expect.stringContaining('UPSTASH_REDIS_REST_TOKEN'),
    })
  })

  const status = (code: number, body = '', headers = {}): UpstashAdapter['instead'] => {
    return (_, response) => response.writeHead(code, headers).end(body)
  }
  const said = (error: string, code = 400) => status(code, JSON.stringify({ error }))
  it.each<[string, UpstashAdapter['instead'], string]>([
    ['403', status(403), 'does not let this service in'],
    ['429', status(429), 'takes no more commands for now'],
    ['that the day is over', said('ERR max daily request limit exceeded.'), 'takes no more commands for now'],
    ['500', status(500, 'a-stored-secret'), 'has answered 500'],
    ['503 with a page', status(503, '<html>a-stored-secret</html>'), 'has answered 503'],
    ['a page', status(200, '<html>a-stored-secret</html>'), 'has answered what cannot be read'],
    ['half an answer', status(200, '{"result":"a-stored-sec'), 'has answered what cannot be read'],
    ['an answer without a result', status(200, '{}'), 'has answered what cannot be read'],
    ['null', status(200, 'null'), 'has answered what cannot be read'],
    ['nothing', status(200), 'has answered what cannot be read'],
    [
      'an error that quotes what was sent',
      said("ERR unknown command, with 'a-stored-secret'"),
      'refused a command: ERR',
    ],
    ['an error in the words of a script', said('ERR Error: -OOM command not allowed'), 'is full (maxmemory)'],
    ['a token for reading only', said("NOPERM this user has no permissions to run 'eval'"), 'does not permit'],
    ['silence', () => {}, 'has not answered within 2 seconds'],
    ['a body that does not end', (_, response) => response.writeHead(200).write('{"result":'), 'within 2 seconds'],
    ['a broken connection', (request) => request.socket.destroy(), 'cannot be reached: '],
  ])('that answers %s is unavailable, in words of ours', async (_, instead, words) => {
    upstash.instead = instead
    const before = upstash.count
    const error = await failure(openStore())
    expect(upstash.count, 'asked once').toBe(before + 1)
    expect(error).toMatchObject({ name: 'StorageError', code: 'unavailable', message: expect.stringContaining(words) })
    expect(error.message).toContain(new URL(upstash.url).host)
    expect(error.hint).toBeTruthy()
  })

  it('is not followed elsewhere', async () => {
    const other = await startUpstashAdapter(redis.url)
    upstash.instead = status(307, '', { location: other.url })
    expect(await failure(openStore())).toMatchObject({ message: expect.stringContaining('has answered 307') })
    expect(other.count).toBe(0)
    await other.stop()
  })

  it('that is away is told at once, and found again', async () => {
    const adapter = await startUpstashAdapter(redis.url)
    const store = openStore('production', adapter)
    await adapter.stop()
    expect(await failure(store)).toMatchObject({ message: expect.stringContaining('cannot be reached: ECONNREFUSED') })
    upstash.instead = status(503)
    const here = openStore()
    await failure(here)
    upstash.instead = undefined
    expect(await here.read(KEY)).toBeNull()
  })

  it('with something else than text in its place', async () => {
    const store = openStore()
    await redis.client.lpush(`test-${stores}:${KEY}`, 'x')
    await expect(store.read(KEY)).rejects.toMatchObject({ code: 'unusable' })
  })
})
