import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { RELEASE, RENEW } from '../../storage/leases/redis'
import { READ, WRITE_ONLY_IF } from '../../storage/stores/redis'
import { type RedisServer, startRedis } from '../support/redis'
import { type Caller, immediateCaller } from './caller'
import { createRandom, type Random } from './random'
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
    const redis = createRedis(createRandom(1), Date.now)
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

describe('the simulated client behaves as ioredis does', () => {
  /** What is heard, in order; with what may vary from run to run left out. */
  function listen(client: Client) {
    const heard: string[] = []
    const note = (what: string) => (error?: Error) =>
      heard.push(error ? `${what}: ${(error as NodeJS.ErrnoException).code ?? error.message}` : what)
    for (const event of ['error', 'close', 'end'] as const) client.on(event, note(event))
    const asked = (what: string, work: Promise<unknown>) =>
      work.then(
        (reply) => heard.push(`${what}: ${reply}`),
        (error) => heard.push(`${what} fails: ${error.message.replace(/:\d+$/, ':PORT')}`),
      )
    return { heard, asked }
  }

  type Story = (client: Client, asked: ReturnType<typeof listen>['asked'], away: () => unknown) => Promise<unknown>
  const STORIES: [string, Story][] = [
    [
      'is asked before it is connected',
      async (client, asked) => {
        const ready = new Promise((resolve) => client.once('ready', () => resolve(undefined)))
        await asked('GET', client.call('GET', 'a'))
        await ready
        await asked('GET', client.call('GET', 'a'))
      },
    ],
    [
      'quits after what was asked',
      async (client, asked) => {
        await client.connect()
        const ended = new Promise((resolve) => client.once('end', () => resolve(undefined)))
        await Promise.all([asked('GET', client.call('GET', 'a')), asked('QUIT', client.quit())])
        await ended
        await asked('late', client.call('GET', 'a'))
      },
    ],
    [
      'disconnects while something is under way',
      async (client, asked) => {
        await client.connect()
        const ended = new Promise((resolve) => client.once('end', () => resolve(undefined)))
        client.disconnect()
        await ended
        await asked('late', client.call('GET', 'a'))
      },
    ],
    [
      'connects twice',
      async (client, asked) => {
        const one = asked('one', client.connect())
        await asked('two', client.connect())
        await one
      },
    ],
    [
      'finds nobody there',
      async (client, asked, away) => {
        await away()
        await asked('connect', client.connect())
        await asked('late', client.call('GET', 'a'))
      },
    ],
  ]

  it.each(STORIES)('where it %s', async (_, story) => {
    const server = await startRedis()
    onTestFinished(() => server.stop())
    const redis = createRedis(createRandom(1), Date.now)
    const soon: Caller = {
      async operation(_, effect) {
        await new Promise(setImmediate)
        return effect()
      },
      wall: () => 0,
    }
    const sides: [Client, () => unknown][] = [
      [new Redis(server.url, OPTIONS), () => server.kill()],
      [
        clientOf(redis, soon),
        () => {
          redis.faults.away = 'refused'
        },
      ],
    ]
    const [real, ours] = await Promise.all(
      sides.map(async ([client, away]) => {
        const { heard, asked } = listen(client)
        await story(client, asked, away)
        client.disconnect()
        await new Promise((resolve) => setTimeout(resolve, 50))
        return heard
      }),
    )
    expect(ours).toEqual(real)
  })
})

/** A process whose operations come about, and are answered, when a test says so. */
function byHand() {
  const arrivals: { what: string; act(): void }[] = []
  const answers: (() => void)[] = []
  const caller: Caller = {
    operation: <T>(what: string, effect: () => T) =>
      new Promise<T>((resolve, reject) => {
        const act = () => {
          try {
            const answer = effect()
            answers.push(() => resolve(answer))
          } catch (error) {
            answers.push(() => reject(error))
          }
        }
        arrivals.push({ what, act })
      }),
    wall: () => 0,
  }
  const settled = () => new Promise(setImmediate)
  return {
    caller,
    arrivals,
    /** The next of that name takes effect. */
    async act(what: string) {
      const index = arrivals.findIndex((one) => one.what === what)
      const [arrival] = arrivals.splice(index, 1)
      if (index < 0 || !arrival) throw new Error(`no ${what} among ${arrivals.map((one) => one.what)}`)
      arrival.act()
      await settled()
    },
    /** All that have taken effect are answered. */
    async answer() {
      for (const answer of answers.splice(0)) answer()
      await settled()
    },
    /** In any order, until nothing is left to do. */
    async run(random: Random, each: () => void = () => {}) {
      while (arrivals.length + answers.length > 0) {
        each()
        const index = random.below(arrivals.length + answers.length)
        if (index < arrivals.length) arrivals.splice(index, 1)[0]?.act()
        else answers.splice(index - arrivals.length, 1)[0]?.()
        await settled()
      }
    },
  }
}

/** Virtual time: what is due is run as it passes. */
function virtualTime() {
  let now = 0
  const timers: { at: number; what: () => void }[] = []
  return {
    now: () => now,
    later: (ms: number, what: () => void) => void timers.push({ at: now + ms, what }),
    async pass(ms: number) {
      const end = now + ms
      for (;;) {
        timers.sort((a, b) => a.at - b.at)
        const next = timers[0]
        if (!next || next.at > end) break
        timers.shift()
        now = Math.max(now, next.at)
        next.what()
        await new Promise(setImmediate)
      }
      now = end
    },
  }
}

const settle = (work: Promise<unknown>) =>
  work.then(
    (reply) => `answered ${reply}`,
    (error) => `failed ${error.message}`,
  )

describe('a connection of the simulated Redis', () => {
  it('keeps the order of what is sent, whatever comes about first', async () => {
    for (let seed = 0; seed < 100; seed++) {
      const redis = createRedis(createRandom(seed), () => 0)
      const hand = byHand()
      const client = clientOf(redis, hand.caller)
      const ready = client.connect()
      await hand.act('redis connect')
      await hand.answer()
      await ready
      const order: number[] = []
      for (let number = 0; number < 5; number++) {
        void client.call('SET', 'a', number).then(() => order.push(number))
      }
      await hand.run(createRandom(seed))
      expect(redis.take('a')).toBe('4')
      expect(order).toEqual([0, 1, 2, 3, 4])
    }
  })

  it('brings about what has arrived, and nothing before', async () => {
    const redis = createRedis(createRandom(1), () => 0)
    const hand = byHand()
    const client = clientOf(redis, hand.caller)
    const ready = client.connect()
    await hand.act('redis connect')
    await hand.answer()
    await ready
    const answers = ['GET', 'SET', 'DEL'].map((name) => client.call(name, 'a', ...(name === 'SET' ? ['b'] : [])))
    await hand.act('redis SET')
    expect(redis.take('a')).toBe('b')
    await hand.act('redis GET')
    expect(redis.take('a')).toBe('b')
    await hand.act('redis DEL')
    expect(redis.take('a')).toBeNull()
    await hand.answer()
    expect(await Promise.all(answers)).toEqual([null, 'OK', 1])
  })

  it.each(['refused', 'hung', 'silent'] as const)(
    'that becomes %s at any moment lets the first of them through',
    async (away) => {
      const seen = new Set<string>()
      for (let seed = 0; seed < 300; seed++) {
        const random = createRandom(seed)
        const redis = createRedis(random, () => 0)
        const hand = byHand()
        const client = clientOf(redis, hand.caller)
        client.on('error', () => {})
        const ready = client.connect()
        await hand.act('redis connect')
        await hand.answer()
        await ready
        const answers = Array.from({ length: 4 }, (_, number) => settle(client.call('SET', `key ${number}`, number)))
        let steps = random.below(8)
        await hand.run(random, () => {
          if (steps-- === 0) redis.faults.away = away
        })
        redis.faults.away = false
        await hand.run(random)
        const effects = redis.list().length
        expect(redis.list()).toEqual(['key 0', 'key 1', 'key 2', 'key 3'].slice(0, effects))
        const heard = (await Promise.all(answers)).filter((answer) => answer === 'answered OK').length
        expect(heard).toBeLessThanOrEqual(effects)
        seen.add(`${effects} effects, ${heard} answers`)
      }
      expect([...seen]).toEqual(expect.arrayContaining(['4 effects, 4 answers']))
      if (away !== 'hung')
        expect([...seen]).toEqual(expect.arrayContaining(['4 effects, 0 answers', '2 effects, 0 answers']))
    },
  )

  it('that nobody answers on is not made, or late', async () => {
    const redis = createRedis(createRandom(1), () => 0)
    redis.faults.away = 'silent'
    const client = clientOf(redis)
    let isReady = false
    void client.connect().then(() => {
      isReady = true
    })
    await new Promise(setImmediate)
    expect(isReady).toBe(false)
    redis.faults.away = false
    await new Promise(setImmediate)
    expect(isReady).toBe(true)
    expect(await client.call('PING')).toBe('PONG')
  })

  it('may lose an answer though the command took effect: it is cut, or silent for ever', async () => {
    const seen: Record<string, number> = {}
    for (let seed = 0; seed < 50; seed++) {
      const redis = createRedis(createRandom(seed), () => 0)
      const client = await connected(clientOf(redis))
      redis.faults.answersLost = 1
      let outcome = 'nothing'
      void settle(client.call('SET', 'a', 'b')).then((told) => {
        outcome = told
      })
      await new Promise(setImmediate)
      expect(redis.take('a')).toBe('b')
      seen[outcome] = (seen[outcome] ?? 0) + 1
    }
    expect(Object.keys(seen).sort()).toEqual(['failed Connection is closed.', 'nothing'])
  })

  it('that its client leaves may still deliver what was sent', async () => {
    const seen = new Set<string | null>()
    for (let seed = 0; seed < 30; seed++) {
      const redis = createRedis(createRandom(seed), () => 0)
      const hand = byHand()
      const client = clientOf(redis, hand.caller)
      const ready = client.connect()
      await hand.act('redis connect')
      await hand.answer()
      await ready
      const told = settle(client.call('SET', 'a', 'b'))
      client.disconnect()
      await hand.run(createRandom(seed))
      expect(await told).toBe('failed Connection is closed.')
      seen.add(redis.take('a'))
    }
    expect([...seen].sort()).toEqual(['b', null].sort())
  })

  it('ends with its process, and what was sent may still arrive', async () => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 30; seed++) {
      const redis = createRedis(createRandom(seed), () => 0)
      const hand = byHand()
      const client = clientOf(redis, hand.caller)
      const ready = client.connect()
      await hand.act('redis connect')
      await hand.answer()
      await ready
      let answer: unknown
      void client.call('SET', 'a', 'b').then((told) => {
        answer = told
      })
      redis.leave(hand.caller)
      seen.add(`${redis.take('a')}`)
      await hand.run(createRandom(seed))
      expect(answer).toBeUndefined()
    }
    expect([...seen].sort()).toEqual(['b', 'null'])
  })

  it('is as slow as it is told to be', async () => {
    const time = virtualTime()
    const redis = createRedis(createRandom(1), time.now, time.later)
    const client = await connected(clientOf(redis))
    redis.faults.slow = 1000
    const answers = [client.call('SET', 'a', 'b'), client.call('SET', 'a', 'c')]
    await new Promise(setImmediate)
    expect(redis.take('a')).toBeNull()
    await time.pass(2000)
    expect(await Promise.all(answers)).toEqual(['OK', 'OK'])
    expect(redis.take('a')).toBe('c')
  })

  it('sends a pipeline as one', async () => {
    const redis = createRedis(createRandom(1), () => 0)
    const client = new (redis.clientClass(immediateCaller()))()
    await new Promise(setImmediate)
    const answers = await client
      .pipeline([['SET', 'a', 'b']])
      .call('STRLEN', 'a')
      .call('GET')
      .exec()
    expect(answers).toEqual([
      [null, 'OK'],
      [null, 1],
      [expect.objectContaining({ name: 'ReplyError' }), undefined],
    ])
  })
})

describe('what the simulated Redis keeps', () => {
  async function open(seed = 1) {
    const time = virtualTime()
    const redis = createRedis(createRandom(seed), time.now, time.later)
    const connect = () => connected(clientOf(redis))
    return { time, redis, connect, client: await connect() }
  }

  it('for as long as it is told to', async () => {
    const { time, redis, client } = await open()
    await client.call('SET', 'lease', 'one', 'NX', 'PX', 5000)
    await time.pass(4999)
    expect(await client.call('SET', 'lease', 'two', 'NX')).toBeNull()
    await client.call('PEXPIRE', 'lease', 5000)
    await time.pass(4999)
    expect(redis.take('lease')).toBe('one')
    await time.pass(1)
    expect(redis.list()).toEqual([])
    expect(await client.call('PEXPIRE', 'lease', 5000)).toBe(0)
    expect(await client.call('SET', 'lease', 'two', 'NX')).toBe('OK')
  })

  it.each([
    ['none', ['']],
    ['everysec', ['early', 'early,late']],
    ['always', ['early,late']],
  ] as const)('over a restart: %s', async (persistence, expected) => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 30; seed++) {
      const { time, redis, client } = await open(seed)
      redis.settings.persistence = persistence
      await client.call('SET', 'early', '')
      await time.pass(1500)
      await client.call('SET', 'late', '')
      await time.pass(400)
      redis.restart()
      seen.add(redis.list().join())
      await new Promise(setImmediate)
      expect(await settle(client.call('GET', 'early'))).toBe('failed Connection is closed.')
    }
    expect([...seen].sort()).toEqual(expected)
  })

  it('over a failover: not the last writes, leases among them, and a lease that has run out stays so', async () => {
    const { time, redis, client, connect } = await open()
    await client.call('SET', 'token', 'old')
    await client.call('SET', 'short', 'lease', 'PX', 1000)
    await time.pass(2000)
    await client.call('SET', 'token', 'new')
    await client.call('SET', 'lease', 'holder', 'NX', 'PX', 5000)
    await client.call('DEL', 'short')
    await time.pass(100)
    redis.failover(500)
    expect(redis.take('token')).toBe('old')
    expect(redis.list()).toEqual(['token'])
    expect(await (await connect()).call('SET', 'lease', 'other', 'NX', 'PX', 5000)).toBe('OK')
  })

  it('when a replica has acknowledged it: WAIT', async () => {
    const { time, redis, client, connect } = await open()
    await client.call('SET', 'a', 'kept')
    let told: unknown
    void client.call('WAIT', 1, 300).then((count) => {
      told = count
    })
    await time.pass(200)
    expect(told).toBeUndefined()
    await time.pass(200)
    expect(told).toBe(0)
    redis.settings.replicas = 1
    expect(await client.call('WAIT', 1, 300)).toBe(1)
    await client.call('SET', 'a', 'lost')
    redis.failover(10_000)
    expect(redis.take('a')).toBe('kept')
    expect(await (await connect()).call('WAIT', 1, 300), 'nothing was written on this connection').toBe(1)
  })

  it('when it is on the disk: WAITAOF', async () => {
    const { time, redis, client } = await open()
    redis.settings.persistence = 'everysec'
    await time.pass(100)
    await client.call('SET', 'a', 'kept')
    let told: unknown
    void client.call('WAITAOF', 1, 0, 0).then((answer) => {
      told = answer
    })
    const behind = client.call('SET', 'b', 'behind it')
    await time.pass(800)
    expect(told).toBeUndefined()
    expect(redis.take('b'), 'the connection waits').toBeNull()
    await time.pass(200)
    expect(told).toEqual([1, 0])
    expect(await behind).toBe('OK')
    expect(await settleSoon(client.call('WAITAOF', 0, 1, 100), time)).toEqual([1, 0])
    redis.restart()
    expect(redis.take('a')).toBe('kept')
    redis.settings.persistence = 'none'
    const other = await connected(clientOf(redis))
    await expect(other.call('WAITAOF', 1, 0, 0)).rejects.toThrow('appendonly is disabled')
    redis.settings.version = '7.0.15'
    await expect(other.call('WAITAOF', 1, 0, 0)).rejects.toThrow("ERR unknown command 'WAITAOF'")
  })

  it('when it is on the disk, where no time of its own is given: at once', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const redis = createRedis(createRandom(seed), () => 500)
      redis.settings.persistence = 'everysec'
      const client = await connected(clientOf(redis))
      await client.call('SET', 'a', 'kept')
      expect(await client.call('WAITAOF', 1, 0, 0)).toEqual([1, 0])
      redis.restart()
      expect(redis.take('a')).toBe('kept')
    }
  })

  it('but what it evicts when it is full', async () => {
    const { redis, client } = await open()
    redis.settings.evicts = true
    redis.put('token', 'kept for how long?')
    redis.faults.full = true
    expect(await client.call('SET', 'other', '')).toBe('OK')
    expect(redis.list()).toEqual(['other'])
  })

  it('is what people put there', async () => {
    const { redis, client } = await open()
    redis.faults.refuses = 'LOADING Redis is loading the dataset in memory'
    redis.put('a', 'by hand')
    redis.put('b', 'by hand')
    redis.remove('b')
    expect(redis.list()).toEqual(['a'])
    await expect(client.call('GET', 'a')).rejects.toThrow('LOADING')
    redis.faults.refuses = undefined
    expect(await client.call('GET', 'a')).toBe('by hand')
    redis.faults.refusesWrites = 'MISCONF Errors writing to the AOF file'
    await expect(client.call('DEL', 'a')).rejects.toThrow('MISCONF')
    redis.flushAll()
    expect(redis.take('a')).toBeNull()
  })

  it('tells how it is set up', async () => {
    const { redis, client } = await open()
    redis.settings.persistence = 'everysec'
    expect(await client.call('CONFIG', 'GET', 'append*')).toEqual(['appendonly', 'yes', 'appendfsync', 'everysec'])
    expect(await client.call('INFO', 'persistence')).toContain('aof_enabled:1')
  })

  it('says what it lacks, aloud and in a list', async () => {
    const { redis, client } = await open()
    await expect(client.call('EVAL', 'return 1', 0)).rejects.toThrow('add its twin to redis-scripts.ts')
    await expect(client.call('LPUSH', 'a', 'b')).rejects.toThrow('does not have LPUSH')
    expect(redis.lacks).toHaveLength(2)
  })

  it('is asked so often a second', async () => {
    const { client } = await open()
    const began = performance.now()
    for (let round = 0; round < 20_000; round++) {
      await client.call('EVAL', WRITE_ONLY_IF, 1, 'token', String(round), ...(round ? [String(round - 1)] : []))
      await client.call('GET', 'token')
    }
    const rate = 40_000 / ((performance.now() - began) / 1000)
    console.log(`simulated Redis: ${Math.round(rate / 1000)} thousand commands a second`)
  })
})

async function settleSoon(work: Promise<unknown>, time: { pass(ms: number): Promise<void> }): Promise<unknown> {
  await time.pass(1000)
  return work
}
