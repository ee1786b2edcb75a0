import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { describe, expect, it, type TestContext } from 'vitest'
import type { Durability } from '../../storage'
import { openRedis } from '../../storage/redis'
import { type RedisServer, type RedisServerOptions, startRedis, WITH_WAITAOF } from '../support/redis'
import { waitUntil } from '../support/wait-until'
import { storeConformance } from './store-conformance'

// A real server of each kind: what it says of itself, what is lost, and what a save waits for.

const TOKEN = '.yoto_refresh_token'
const NOT_LEASED = '.yoto_journal.json'
const PASSWORD = 'hush-hush'

async function start({ onTestFinished }: TestContext, options?: RedisServerOptions): Promise<RedisServer> {
  const server = await startRedis(options)
  onTestFinished(() => server.stop())
  return server
}

function open({ onTestFinished }: TestContext, url: string) {
  const backend = openRedis(url, 'production', [TOKEN])
  onTestFinished(() => backend.close?.())
  return backend
}

/** What it says, without its place. */
async function said({ place, durability }: ReturnType<typeof openRedis>): Promise<Durability> {
  const found = (await durability?.()) as Durability
  expect(found.message.startsWith(`${place} `)).toBe(true)
  return { ...found, message: found.message.slice(place.length + 1) }
}

const EVERY_SECOND = ['--appendonly', 'yes', '--appendfsync', 'everysec']

const TURN_ON = expect.stringContaining('`redis-cli config set appendonly yes`')
const HAVE_TURNED_ON = expect.stringContaining('Turn persistence (AOF) on where it is managed')

describe('a Redis says how durable it is, and a crash shows it', () => {
  const forgets = { message: 'keeps what is stored in memory only: when it is restarted, the sign-in is gone.' }
  const snapshots = {
    message: expect.stringContaining('takes snapshots only: when it crashes, what was saved in the last'),
  }
  const always = { message: 'keeps an append-only file, flushed at every write.' }
  const everySecond = {
    message: expect.stringMatching(/^keeps an append-only file, flushed every second: .*cannot be had\.$/),
  }
  const never = { message: expect.stringContaining('leaves it to its system when its file is flushed') }

  it.each([
    ['no persistence', [], { lasts: false, hint: TURN_ON, ...forgets }, 'lost'],
    ['snapshots', ['--save', '3600 1 300 100'], { lasts: false, hint: TURN_ON, ...snapshots }, 'lost'],
    ['a file, flushed always', ['--appendonly', 'yes'], { lasts: true, hint: undefined, ...always }, 'kept'],
    ['a file, flushed every second', EVERY_SECOND, { lasts: true, hint: undefined, ...everySecond }, 'kept'],
    [
      'a file, flushed whenever',
      ['--appendonly', 'yes', '--appendfsync', 'no'],
      { lasts: true, hint: expect.stringContaining('appendfsync everysec'), ...never },
      'kept',
    ],
  ])('with %s', async (_, args, expected, fate) => {
    const server = await startRedis({ args })
    const backend = openRedis(server.url, 'production', [TOKEN])
    try {
      const { lasts, message, hint } = await said(backend)
      expect({ lasts, message, hint }).toEqual(expected)
      await backend.store.write(TOKEN, 'value')
      await server.kill()
      await server.start()
      expect(await backend.store.read(TOKEN)).toBe(fate === 'kept' ? 'value' : null)
    } finally {
      backend.close?.()
      await server.stop()
    }
  })

  it.each([
    ['60 1', '60 seconds'],
    ['3600 1 300 100 60 10000', '60 minutes'],
    ['900 10', '15 minutes and 10 changes'],
  ])('tells of the snapshots %s how much is gone', async (save, words) => {
    const server = await startRedis({ args: ['--save', save] })
    const backend = openRedis(server.url, 'production')
    expect((await said(backend)).message).toContain(`what was saved in the last ${words} is gone`)
    backend.close?.()
    await server.stop()
  })

  it('that evicts has dropped the token when it is full', async (context) => {
    const args = ['--appendonly', 'yes', '--maxmemory', '3mb', '--maxmemory-policy', 'allkeys-lru']
    const server = await start(context, { args })
    const backend = open(context, server.url)
    expect(await said(backend)).toEqual({
      lasts: false,
      message: 'drops what it likes when it is full (maxmemory-policy allkeys-lru), and that may be the sign-in.',
      hint: expect.stringContaining('config set maxmemory-policy noeviction'),
    })
    await backend.store.write(TOKEN, 'value')
    await waitUntil(
      async () => {
        const others = Array.from({ length: 100 }, () =>
          server.client.set(`other:${crypto.randomUUID()}`, 'x'.repeat(10_000)),
        )
        await Promise.all(others)
        return (await server.client.keys('production:*')).length === 0 // and no read, which would keep it
      },
      { what: 'the token had been dropped' },
    )
    expect(await backend.store.read(TOKEN)).toBeNull()
    await server.client.config('SET', 'maxmemory', '0')
    expect(await said(backend)).toMatchObject({ lasts: true })
    await server.client.config('SET', 'maxmemory', '3mb')
    await server.client.config('SET', 'maxmemory-policy', 'volatile-lru')
    expect(await said(backend)).toMatchObject({ lasts: true })
    await server.client.config('SET', 'maxmemory-policy', 'allkeys-lfu')
    await server.client.config('SET', 'appendonly', 'no')
    expect((await said(backend)).message).toMatch(/^keeps what is stored in memory only: .*; it drops what it likes/)
  })

  it('that cannot be reached says nothing', async (context) => {
    const server = await start(context)
    const backend = open(context, server.url)
    await server.kill()
    await expect(backend.durability?.()).rejects.toMatchObject({ name: 'StorageError', code: 'unavailable' })
  })
})

describe('a managed Redis', () => {
  async function asUser(context: TestContext, rules: string[], args: string[] = []) {
    const server = await start(context, { args })
    await server.client.call('ACL', 'SETUSER', 'me', 'on', `>${PASSWORD}`, '~*', '+@all', ...rules)
    return open(context, server.url.replace('//', `//me:${PASSWORD}@`))
  }

  it.each([
    [
      'with a file',
      ['--appendonly', 'yes'],
      { lasts: true, message: expect.stringContaining('keeps an append-only file') },
    ],
    [
      'without one',
      [],
      {
        lasts: false,
        message: expect.stringMatching(/^has no append-only file, and does not say whether it takes snapshots/),
        hint: HAVE_TURNED_ON,
      },
    ],
    [
      'that evicts',
      ['--appendonly', 'yes', '--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-random'],
      { lasts: false, hint: expect.stringContaining('where it is managed') },
    ],
  ])('that forbids CONFIG, %s, is asked by INFO', async (_, args, expected) => {
    const server = await startRedis({ args: [...args, '--rename-command', 'CONFIG', ''] })
    const backend = openRedis(server.url, 'production', [TOKEN])
    expect(await said(backend)).toMatchObject(expected)
    await backend.store.write(TOKEN, 'value')
    expect(await backend.store.read(TOKEN)).toBe('value')
    backend.close?.()
    await server.stop()
  })

  it('that has taken snapshots says so by INFO', async (context) => {
    const backend = await asUser(context, ['-config'], ['--save', '1 1'])
    await backend.store.write(TOKEN, 'value')
    await waitUntil(
      async () => (await said(backend)).message.startsWith('takes snapshots only: when it crashes, what'),
      {
        what: 'it had taken one',
      },
    )
  })

  it('that forbids INFO as well does not say, and is neither warned of nor praised', async (context) => {
    const backend = await asUser(context, ['-config', '-info'])
    expect(await said(backend)).toEqual({
      lasts: undefined,
      message: 'does not say whether it keeps what is stored on a disk: that is for who runs it to promise.',
    })
    await backend.store.write(TOKEN, 'value')
    await backend.store.write(TOKEN, 'next', 'value')
    expect(await backend.store.read(TOKEN)).toBe('next')
    await backend.store.remove(TOKEN)
    expect(await said(backend)).not.toHaveProperty('hint')
  })

  it('that forbids INFO alone is asked by CONFIG', async (context) => {
    const backend = await asUser(context, ['-info'])
    expect(await said(backend)).toMatchObject({ lasts: false, hint: TURN_ON })
  })

  it('is asked on the connection that is there, and costs it nothing', async (context) => {
    const server = await start(context, { args: ['--rename-command', 'CONFIG', ''] })
    const backend = open(context, server.url)
    await backend.store.read(TOKEN)
    const clients = async () =>
      [...String(await server.client.client('LIST')).matchAll(/id=(\d+)/g)].map(([, id]) => id)
    const before = await clients()
    await backend.durability?.()
    await backend.store.read(TOKEN)
    expect(await clients()).toEqual(before)
  })
})

describe('a save', () => {
  let stores = 0
  const options = { command: WITH_WAITAOF, args: ['--appendonly', 'yes', '--appendfsync', 'no'] }

  it('waits until it is flushed, and keeps nobody else waiting', async (context) => {
    const server = await start(context, options)
    const backend = open(context, server.url)
    /** A machine that is slow may take longer than a save waits. */
    for (let attempt = 1; ; attempt++) {
      await server.client.config('SET', 'appendfsync', 'no')
      const value = `value ${attempt}`
      const order: string[] = []
      const saved = backend.store.write(TOKEN, value).then(() => order.push('saved'))
      await waitUntil(async () => (await server.client.get(`production:${TOKEN}`)) === value, { what: 'it was stored' })
      expect(await backend.store.read(TOKEN)).toBe(value)
      const held = await backend.lease('token').tryAcquire()
      await held?.check()
      await held?.release()
      await backend.store.write(NOT_LEASED, 'not waited for')
      order.push('flushed')
      await server.client.config('SET', 'appendfsync', 'always')
      await saved
      if (attempt < 10 && (await said(backend)).message.includes('has not said in time')) continue
      expect(order).toEqual(['flushed', 'saved'])
      break
    }
    expect(await said(backend)).toEqual({ lasts: true, message: 'keeps an append-only file, flushed at every write.' })
  })

  it('that finds its own value waits for that to be flushed, whoever has written it; a removal waits as well', async (context) => {
    const server = await start(context, { ...options, args: ['--appendonly', 'yes'] })
    const backend = open(context, server.url)
    await backend.store.write(TOKEN, 'value')
    await server.client.config('SET', 'appendfsync', 'no')
    await server.client.set(`production:${TOKEN}`, 'next')
    await backend.store.write(TOKEN, 'next', 'value')
    expect((await said(backend)).message).toContain('has not said in time that it is on its disk')
    await server.client.config('SET', 'appendfsync', 'always')
    await backend.store.write(TOKEN, 'next', 'next')
    expect(await said(backend)).toMatchObject({
      lasts: true,
      message: 'keeps an append-only file, flushed at every write.',
    })
    await server.client.config('SET', 'appendfsync', 'no')
    await backend.store.remove(TOKEN)
    expect((await said(backend)).message).toContain('has not said in time that it is on its disk')
  })

  it('is stored though its flush is not confirmed in time, says so, and is not waited for where none ever comes', async (context) => {
    const server = await start(context, options)
    const backend = open(context, server.url)
    await backend.store.write(TOKEN, 'value')
    expect(await server.client.get(`production:${TOKEN}`)).toBe('value')
    const { lasts, message, hint } = await said(backend)
    expect(lasts).toBe(true)
    expect(message).toContain('has stored what was saved last, and has not said in time that it is on its disk')
    expect(hint).toContain('redis-cli info persistence')
    const waits = async () => Number(/cmdstat_waitaof:calls=(\d+)/.exec(await server.client.info('commandstats'))?.[1])
    const before = await waits()
    await backend.store.write(TOKEN, 'next')
    expect(await waits()).toBe(before)
  })

  it.runIf(WITH_WAITAOF === 'valkey-server')(
    'is not promised to be flushed by a version that answers too early',
    async (context) => {
      const server = await start(context, { ...options, args: EVERY_SECOND })
      const { message } = await said(open(context, server.url))
      expect(message).toMatch(/flushed every second: a power failure may lose .* answers WAITAOF too early\.$/)
    },
  )

  it('conflicts at once, and fails as any other', async (context) => {
    const server = await start(context, options)
    const backend = open(context, server.url)
    await expect(backend.store.write(TOKEN, 'next', 'value')).rejects.toMatchObject({ code: 'conflict' })
    await server.kill()
    await expect(backend.store.write(TOKEN, 'next')).rejects.toMatchObject({ code: 'unavailable' })
    await server.start()
    await backend.store.write(TOKEN, 'next')
    await server.client.call('REPLICAOF', '127.0.0.1', '1')
    await expect(backend.store.write(TOKEN, 'last')).rejects.toThrow('is a read-only replica')
    await server.client.call('REPLICAOF', 'NO', 'ONE')
    await waitUntil(async () => (await backend.store.write(TOKEN, 'last').catch(() => true)) === undefined, {
      what: 'a write succeeded',
    })
  })

  // All that every store and lease does, with saves that are waited for.
  let redis: RedisServer | undefined
  const started = async () => (redis ??= await startRedis({ command: WITH_WAITAOF, args: ['--appendonly', 'yes'] }))
  storeConformance('Redis, waited for', async () => {
    const { url } = await started()
    const backend = openRedis(url, `test-${++stores}`, [TOKEN])
    return { store: backend.store, end: () => backend.close?.() }
  })
})

describe('a replica', () => {
  /** A line between the two that can be cut, with what is on its way in it: a process that is only stopped would still read that. */
  async function line({ onTestFinished }: TestContext, port: number) {
    const sockets = new Set<Socket>()
    let isHeld = false
    const server = createServer((replica) => {
      const primary = connect(port, '127.0.0.1')
      for (const socket of [replica, primary]) {
        sockets.add(socket.on('error', () => {}).on('close', () => sockets.delete(socket)))
      }
      replica.pipe(primary)
      primary.on('data', (data) => isHeld || replica.write(data))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const cut = () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
    onTestFinished(cut)
    return {
      port: (server.address() as { port: number }).port,
      hold: () => {
        isHeld = true
      },
      cut,
    }
  }

  async function pair(context: TestContext) {
    const args = ['--repl-diskless-sync-delay', '0']
    const primary = await start(context, { args })
    const replica = await start(context, { args })
    const between = await line(context, primary.port)
    await replica.client.call('REPLICAOF', '127.0.0.1', between.port)
    await waitUntil(async () => /state=online/.test(await primary.client.info('replication')), {
      what: 'it replicates',
    })
    const backend = open(context, primary.url)
    /** By hand, as somebody would. */
    const failOver = async () => {
      await primary.kill()
      between.cut()
      await replica.client.call('REPLICAOF', 'NO', 'ONE')
      return open(context, replica.url).store
    }
    return { primary, replica, between, backend, failOver }
  }

  /** A machine that is slow may take longer than a save waits. */
  async function confirmed(backend: ReturnType<typeof open>, value: string) {
    const save = async () => {
      await backend.store.write(TOKEN, value)
      return !(await said(backend)).message.includes('has not said in time')
    }
    await waitUntil(save, { what: 'a save was confirmed' })
  }

  it('has what was saved when its primary dies right afterwards', async (context) => {
    const { backend, failOver } = await pair(context)
    for (let time = 0; time < 20; time++) await backend.store.write(TOKEN, `value ${time}`)
    await confirmed(backend, 'last')
    const store = await failOver()
    expect(await store.read(TOKEN)).toBe('last')
  })

  it('that is behind loses what was saved last, and that is said before', async (context) => {
    const { backend, between, failOver } = await pair(context)
    await confirmed(backend, 'first')
    between.hold()
    await backend.store.write(NOT_LEASED, 'not waited for')
    expect((await said(backend)).message).not.toContain('replica')
    await backend.store.write(TOKEN, 'second')
    const { lasts, message, hint } = await said(backend)
    expect(lasts).toBe(false) // neither keeps a file
    expect(message).toContain('has not said in time that it is at a replica')
    expect(hint).toContain('redis-cli info replication')
    const store = await failOver()
    expect(await store.read(TOKEN)).toBe('first')
    expect(await store.read(NOT_LEASED)).toBeNull()
  })

  it('is what a managed Redis may count on, of which it is not known what it does instead of a file', async (context) => {
    const { primary } = await pair(context)
    await primary.client.call('ACL', 'SETUSER', 'me', 'on', `>${PASSWORD}`, '~*', '+@all', '-config')
    const managed = open(context, primary.url.replace('//', `//me:${PASSWORD}@`))
    expect(await said(managed)).toEqual({
      lasts: undefined,
      message:
        'has no append-only file, and does not say what it does instead; a replica has a copy, and a save waits for one.',
    })
  })
})
