import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { READ, WRITE_ONLY_IF } from '../../storage/drivers/redis'
import { RELEASE, RENEW } from '../../storage/leases/redis'
import { type RedisServer, startRedis } from '../support/redis'
import { type Caller, immediateCaller, seededRandom } from './caller'
import { createRedis, type SimulatedRedis } from './redis'

const RUNS = Number(process.env.RUNS ?? 200)
/** One without a password, so that it can be told what it may. */
const USER = 'some'

type Command = [name: string, ...args: string[]]
type Client = Pick<Redis, 'call' | 'connect' | 'quit' | 'disconnect' | 'on' | 'once'>

const OPTIONS = {
  lazyConnect: true,
  retryStrategy: () => null,
  enableOfflineQueue: false,
  enableReadyCheck: false,
  disableClientInfo: true,
}

async function connected(client: Client): Promise<Client> {
  client.on('error', () => {})
  await client.connect()
  onTestFinished(() => client.disconnect())
  return client
}

const clientOf = (redis: SimulatedRedis, caller: Caller = immediateCaller()): Client =>
  new (redis.clientClass(caller))('redis://127.0.0.1:6379', OPTIONS) as unknown as Client

/** What is answered, without what cannot be the same: where in which script an error was. */
async function outcomeOf(client: Client, [name, ...args]: Command): Promise<unknown> {
  try {
    const reply = await client.call(name, ...args)
    return { reply: name === 'PTTL' ? Math.sign(Number(reply)) : reply }
  } catch (error) {
    const { name, message } = error as Error
    return { name, message: message.replace(/ script: .*$/, '') }
  }
}

/** All names that a scan tells, whichever way it goes. */
async function scanned(client: Client, pattern: string, count: string): Promise<string[]> {
  const names = new Set<string>()
  let cursor = '0'
  do {
    const [next, found] = (await client.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count)) as [string, string[]]
    for (const name of found) names.add(name)
    cursor = next
  } while (cursor !== '0')
  return [...names].sort()
}

describe('the simulated Redis answers as a real one does', () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis()
    await server.client.call('ACL', 'SETUSER', USER, 'on', 'nopass', '~*', '+@all')
  })
  afterAll(() => server.stop())
  beforeEach(() => server.client.flushall())

  const real = () => connected(new Redis(server.url.replace('//', `//${USER}:any@`), OPTIONS))
  const ours = () => {
    const redis = createRedis(seededRandom(1), Date.now)
    redis.settings.version = '7.0.15'
    redis.settings.persistence = 'none'
    return redis
  }

  const key = fc.constantFrom('a', 'b', 'list', 'p:.yoto_a', 'p:.yoto_b', 'p*:.yoto_c')
  const value = fc.constantFrom('', 'one', 'two', 'ŷöţø 🎧', 'x'.repeat(1024 * 1024 + 1))
  const ms = fc.constantFrom('100000', '0', '-1', 'x', '1.5', '')
  const literally = (...command: Command) => fc.constant(command)
  const command: fc.Arbitrary<Command> = fc.oneof(
    fc.tuple(fc.constantFrom('GET', 'get', 'STRLEN', 'PTTL', 'EXISTS', 'DEL'), key),
    fc.tuple(fc.constant('SET'), key, value),
    fc.tuple(fc.constant('SET'), key, value, fc.constantFrom('NX', 'XX', 'nx', 'KEEP')),
    fc.tuple(fc.constant('SET'), key, value, fc.constantFrom('PX', 'EX'), ms),
    fc.tuple(fc.constant('SET'), key, value, fc.constant('NX'), fc.constant('PX'), ms),
    fc.tuple(fc.constant('SET'), key, value, fc.constant('NX'), fc.constant('XX')),
    fc.tuple(fc.constant('PEXPIRE'), key, ms),
    fc.tuple(fc.constant('DEL'), key, key),
    fc.tuple(fc.constant('EVAL'), fc.constant(READ), fc.constant('1'), key),
    fc.tuple(fc.constant('EVAL'), fc.constant(WRITE_ONLY_IF), fc.constant('1'), key, value),
    fc.tuple(fc.constant('EVAL'), fc.constant(WRITE_ONLY_IF), fc.constant('1'), key, value, value),
    fc.tuple(fc.constant('EVAL'), fc.constant(RENEW), fc.constant('1'), key, value, fc.constant('5000')),
    fc.tuple(fc.constant('EVAL'), fc.constant(RELEASE), fc.constant('1'), key, value),
    literally('PING'),
    literally('PING', 'hello'),
    literally('GET'),
    literally('SET', 'a'),
    literally('STRLEN', 'a', 'b'),
    literally('SCAN', 'x'),
    literally('SCAN', '0', 'COUNT', '0'),
    literally('SCAN', '0', 'COUNT'),
    literally('WAITAOF', '1', '0', '0'),
    literally('WAIT', '0', '0'),
    literally('CONFIG', 'GET', 'appendonly'),
    literally('CONFIG', 'GET', 'maxmemory-policy'),
  )

  const ALWAYS: Command[] = [
    ['SET', 'a', 'one'],
    ['GET', 'list'],
    ['EVAL', READ, '1', 'list'],
    ['CONFIG', 'GET', 'save'],
    ['EVAL', RELEASE, '1', 'a', 'one'],
    ['EVAL', WRITE_ONLY_IF, '1', 'b', 'one'],
  ]
  const PATTERNS = [
    ['*', '3'],
    ['p:.yoto_*', '1000'],
    ['p\\*:.yoto_?', '1'],
    ['[a-k]', '10'],
  ] as const

  /** As it was when it was started. */
  async function reset() {
    await server.client.call('REPLICAOF', 'NO', 'ONE')
    await server.client.config('SET', 'maxmemory', '0')
    await server.client.flushall()
    await server.client.call('ACL', 'SETUSER', USER, '+@all')
  }

  /** @param meanwhile what happens to both after some commands */
  async function compare(meanwhile: (redis: SimulatedRedis) => unknown = () => {}) {
    const seen = new Set<string>()
    const one = await real()
    const stories = fc.array(command, { minLength: 1, maxLength: 40, size: 'max' })
    const tell = async (story: Command[], turn: number) => {
      await reset()
      await server.client.lpush('list', 'x')
      const redis = ours()
      redis.putList('list')
      const other = clientOf(redis)
      await other.connect()
      for (const [index, command] of story.entries()) {
        if (index === turn) await meanwhile(redis)
        const expected = await outcomeOf(one, command)
        seen.add(/^[A-Z]+/.exec((expected as Error).message ?? 'done')?.[0] ?? 'done')
        expect({ command, ...((await outcomeOf(other, command)) as object) }).toEqual({
          command,
          ...(expected as object),
        })
      }
      for (const [pattern, count] of PATTERNS) {
        expect(await scanned(other, pattern, count), pattern).toEqual(await scanned(one, pattern, count))
      }
      expect(redis.lacks).toEqual([])
    }
    try {
      const property = fc.asyncProperty(stories, fc.nat({ max: 10 }), tell)
      await fc.assert(property, { numRuns: RUNS, examples: [[ALWAYS, 0]] })
    } finally {
      await reset()
    }
    return [...seen]
  }

  it('to random commands', async () => {
    expect(await compare()).toEqual(expect.arrayContaining(['done', 'WRONGTYPE']))
  })

  it('when it is full', async () => {
    const seen = await compare(async (redis) => {
      await server.client.config('SET', 'maxmemory', '1')
      redis.faults.full = true
    })
    expect(seen).toEqual(expect.arrayContaining(['done', 'OOM']))
  })

  it('when it is a replica', async () => {
    const seen = await compare(async (redis) => {
      await server.client.call('REPLICAOF', '127.0.0.1', '1')
      redis.faults.readOnly = true
    })
    expect(seen).toEqual(expect.arrayContaining(['done', 'READONLY']))
  })

  it('where CONFIG and DEL are not permitted', async () => {
    const seen = await compare(async (redis) => {
      await server.client.call('ACL', 'SETUSER', USER, '-config', '-del')
      redis.faults.forbidden = new Set(['CONFIG', 'DEL'])
    })
    expect(seen).toEqual(expect.arrayContaining(['done', 'NOPERM']))
  })
})
