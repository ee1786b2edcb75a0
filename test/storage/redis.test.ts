import { afterAll, beforeAll, describe, expect, it, onTestFinished, type TestContext } from 'vitest'
import type { TokenStore } from '../../storage'
import { openRedis } from '../../storage/redis'
import { type RedisServer, type RedisServerOptions, startRedis } from '../support/redis'
import { waitUntil } from '../support/wait-until'
import { leaseConformance } from './lease-conformance'
import { storeConformance } from './store-conformance'

const KEY = '.yoto_refresh_token'
const MODULE = new URL('../support/redis.ts', import.meta.url).href
const PASSWORD = 'hush-hush'

let redis: RedisServer
let stores = 0
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

function openStore(url: string, environment = `test-${++stores}`): TokenStore {
  return openRedis(url, environment).store
}

storeConformance('Redis', () => {
  const { store, close } = openRedis(redis.url, `test-${++stores}`)
  return { store, end: () => close?.() }
})

leaseConformance('Redis', () => {
  const environment = `test-${++stores}`
  const backend = openRedis(redis.url, environment)
  return {
    here: () => backend.lease('token'),
    other: () => backend.lease('journal'),
    elsewhere: { module: MODULE, open: 'leaseIn', args: [redis.url, environment, 'token'] },
    end: () => backend.close?.(),
  }
})

describe('Redis', () => {
  it('keeps environments apart, whatever they are called', async () => {
    const names = ['production', 'pr*', 'pr-1', 'a', 'a:b', '[x]', 'x', '\\', '?']
    for (const name of names) await openStore(redis.url, name).write(KEY, `of ${name}`)
    for (const name of names) {
      const store = openStore(redis.url, name)
      expect(await store.read(KEY)).toBe(`of ${name}`)
      expect(await store.keys()).toEqual([KEY])
    }
    expect(await redis.client.get(`production:${KEY}`)).toBe('of production')
    const leases = names.map((name) => openRedis(redis.url, name).lease('token'))
    for (const lease of leases) expect(await lease.tryAcquire()).toBeDefined()
    expect(await redis.client.keys('*_lease')).toHaveLength(names.length)
  })

  it('lists its keys among ten thousand of others', async () => {
    const pipeline = redis.client.pipeline()
    for (let number = 0; number < 10_000; number++) pipeline.set(`other:${number}`, '')
    await pipeline.exec()
    const store = openStore(redis.url)
    const keys = Array.from({ length: 20 }, (_, number) => `.yoto_login_${number}.json`)
    for (const key of keys) await store.write(key, '')
    expect((await store.keys()).sort()).toEqual(keys.sort())
  })

  it.each([
    ['a list', 'not a text', (key: string) => redis.client.lpush(key, 'x')],
    ['far too much', 'larger than 1 MiB', (key: string) => redis.client.set(key, 'x'.repeat(1024 * 1024 + 1))],
  ])('does not take %s for a value', async (_, what, put) => {
    const store = openStore(redis.url)
    const key = `test-${stores}:${KEY}`
    await put(key)
    await expect(store.read(KEY)).rejects.toMatchObject({
      code: 'unusable',
      message: `${key} is ${what}`,
      hint: expect.stringContaining(`Move ${key} away`),
    })
    if (what === 'not a text') {
      await expect(store.write(KEY, 'new', null)).rejects.toMatchObject({ code: 'unusable' })
    }
    expect(await redis.client.exists(key)).toBe(1)
  })

  it('keeps a value of exactly 1 MiB', async () => {
    const store = openStore(redis.url)
    await store.write(KEY, 'x'.repeat(1024 * 1024))
    expect(await store.read(KEY)).toHaveLength(1024 * 1024)
  })

  it('reads and writes so often a second', async () => {
    const store = openStore(redis.url)
    const began = performance.now()
    for (let time = 0; time < 500; time++) {
      await store.write(KEY, String(time), time === 0 ? null : String(time - 1))
      await store.read(KEY)
    }
    console.log(`Redis: ${Math.round(1000 / ((performance.now() - began) / 1000))} operations a second, one by one`)
  })

  it('is reached with the password in its address, in the database that it names', async (context) => {
    const { url, client } = await start(context, { password: PASSWORD })
    await openStore(`${url}/3`, 'production').write(KEY, 'value')
    expect(await client.get(`production:${KEY}`)).toBeNull()
    await client.select(3)
    expect(await client.get(`production:${KEY}`)).toBe('value')
  })
})

async function start({ onTestFinished }: TestContext, options?: RedisServerOptions): Promise<RedisServer> {
  const server = await startRedis(options)
  onTestFinished(() => server.stop())
  return server
}

/** Every way to ask; each must fail soon, with the same words and no secret. */
async function failures(url: string) {
  const backend = openRedis(url, 'production')
  const { store } = backend
  const ways: [string, () => Promise<unknown>][] = [
    ['read', () => store.read(KEY)],
    ['write', () => store.write(KEY, 'token-of-somebody')],
    ['write only if', () => store.write(KEY, 'token-of-somebody', null)],
    ['remove', () => store.remove(KEY)],
    ['list', () => store.keys()],
    [
      'take',
      () =>
        backend
          .lease('token')
          .tryAcquire()
          .then((held) => held?.release()),
    ],
    [
      'wait',
      () =>
        backend
          .lease('token')
          .acquire()
          .then((held) => held?.release()),
    ],
  ]
  const errors: Record<string, { code: string; message: string; hint?: string }> = {}
  for (const [name, ask] of ways) {
    const began = performance.now()
    const error = await ask().then(
      () => undefined,
      (error) => error,
    )
    if (!error) continue
    expect(performance.now() - began, name).toBeLessThan(2_500)
    expect(error, name).toMatchObject({ name: 'StorageError' })
    errors[name] = error
    const everything = JSON.stringify([error, error.message, error.hint, error.stack, error.cause])
    expect(everything).not.toMatch(/hush|token-of-somebody|redis:\/\//)
  }
  return errors
}

const ALL = ['read', 'write', 'write only if', 'remove', 'list', 'take', 'wait']

describe('a Redis that is not there', () => {
  it('that has gone is told at every operation, and found again by itself', async (context) => {
    const server = await start(context, { durable: true, password: PASSWORD })
    const store = openStore(server.url, 'production')
    await store.write(KEY, 'kept')
    await server.kill()
    const began = performance.now()
    const place = `Redis at 127.0.0.1:${server.port}`
    const gone = {
      code: 'unavailable',
      message: expect.stringContaining(place),
      hint: expect.stringMatching(/REDIS_URL/),
    }
    for (const ask of [store.read(KEY), store.write(KEY, 'lost')]) await expect(ask).rejects.toMatchObject(gone)
    const errors = await failures(server.url)
    expect(performance.now() - began, 'nothing is waited for').toBeLessThan(1_500)
    expect(Object.keys(errors)).toEqual(ALL)
    for (const error of Object.values(errors)) {
      expect(error).toMatchObject({ ...gone, message: `${place} cannot be reached: ECONNREFUSED` })
    }
    await server.start()
    expect(await store.read(KEY)).toBe('kept')
  })

  it('without a file of its own comes back empty', async (context) => {
    const server = await start(context)
    const backend = openRedis(server.url, 'production')
    const store = openStore(server.url, 'production')
    await store.write(KEY, 'lost')
    const held = await backend.lease('token').acquire()
    await server.kill()
    await expect(held?.check()).rejects.toMatchObject({ code: 'unavailable' })
    await server.start()
    expect(await store.read(KEY)).toBeNull()
    await expect(held?.check()).rejects.toMatchObject({ code: 'lease_lost' })
  })

  it('that hangs is waited for 2 seconds, and used again when it goes on', async (context) => {
    const server = await start(context)
    const store = openStore(server.url, 'production')
    await store.write(KEY, 'before')
    server.signal('SIGSTOP')
    const errors = await failures(server.url)
    expect(Object.keys(errors)).toEqual(ALL)
    for (const { message } of Object.values(errors)) expect(message).toContain('has not answered within 2 seconds')
    await expect(store.read(KEY)).rejects.toMatchObject({ code: 'unavailable' })
    server.signal('SIGCONT')
    await store.write(KEY, 'after')
    expect(await store.read(KEY)).toBe('after')
  })

  it('of no such name', async () => {
    const { read } = await failures(`redis://:${PASSWORD}@no-such-host.invalid:6379`)
    expect(read).toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/no-such-host.invalid:6379 cannot/),
    })
  })

  it('as its password has a % that should be %25', async () => {
    const errors = await failures('redis://:100%hush@127.0.0.1:6379')
    expect(Object.keys(errors)).toEqual(ALL)
    for (const error of Object.values(errors)) {
      expect(error).toMatchObject({ code: 'unavailable', hint: 'Write a % as %25 in the password in REDIS_URL.' })
    }
  })

  it('as redis-server is missing, is told with the line that installs it', async () => {
    await expect(startRedis({ command: 'no-such-redis-server' })).rejects.toThrow(
      'no-such-redis-server is missing: apt-get update && apt-get install -y redis-server',
    )
  })
})

describe('a Redis that refuses', () => {
  it.each([
    ['a wrong password', ':wrong-hush@', 'does not let this service in', 'Check the password in REDIS_URL.'],
    ['a wrong user', 'nobody:hush-hush@', 'does not let this service in', 'Check the password in REDIS_URL.'],
    ['no password', '', 'lets nobody in without a password', 'Set the password in REDIS_URL.'],
  ])('%s', async (_, user, words, hint) => {
    const server = await startRedis({ password: PASSWORD })
    onTestFinished(() => server.stop())
    const errors = await failures(`redis://${user}127.0.0.1:${server.port}`)
    expect(Object.keys(errors)).toEqual(ALL)
    const expected = { code: 'unavailable', message: `Redis at 127.0.0.1:${server.port} ${words}`, hint }
    for (const error of Object.values(errors)) expect(error).toMatchObject(expected)
  })

  const WRITES = ALL.filter((one) => one !== 'read' && one !== 'list')

  it('writes, as it is a replica', async (context) => {
    const server = await start(context, { args: ['--replica-read-only', 'yes', '--replica-serve-stale-data', 'yes'] })
    await server.client.call('REPLICAOF', '127.0.0.1', '1')
    const errors = await failures(server.url)
    expect(Object.keys(errors)).toEqual(WRITES)
    for (const error of Object.values(errors)) {
      expect(error.message).toContain('is a read-only replica')
      expect(error.hint).toBe('Set REDIS_URL to the primary.')
    }
  })

  it('writes, as its memory is full', async (context) => {
    const server = await start(context)
    await server.client.config('SET', 'maxmemory', '1')
    const errors = await failures(server.url)
    expect(Object.keys(errors)).toContain('write')
    for (const error of Object.values(errors)) expect(error.message).toContain('is full (maxmemory)')
    await server.client.config('SET', 'maxmemory', '0')
    expect(await failures(server.url)).toEqual({})
  })

  it('commands that this user may not run', async (context) => {
    const server = await start(context)
    await server.client.call('ACL', 'SETUSER', 'reader', 'on', `>${PASSWORD}`, '~*', '+@read')
    const errors = await failures(server.url.replace('//', `//reader:${PASSWORD}@`))
    expect(errors.write?.message).toContain('does not permit what is needed')
    expect(errors.take?.hint).toContain('the password in REDIS_URL')
  })

  it('nothing any more once it has become the primary', async (context) => {
    const server = await start(context)
    const store = openStore(server.url, 'production')
    await server.client.call('REPLICAOF', '127.0.0.1', '1')
    await expect(store.write(KEY, 'value')).rejects.toThrow('read-only replica')
    await server.client.call('REPLICAOF', 'NO', 'ONE')
    await waitUntil(async () => (await store.write(KEY, 'value').catch(() => true)) === undefined, {
      what: 'a write succeeded',
    })
  })
})
