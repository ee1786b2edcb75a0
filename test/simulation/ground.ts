import { REFRESH_TOKEN, TOKEN_SET } from '../../server/keeper/records'
import type { Lease, TokenStore } from '../../storage'
import type { Code } from './code'
import { createDisk } from './disk'
import { PlainStore } from './plain-store'
import type { SimulatedProcess } from './process'
import type { Random } from './random'
import { createRedis } from './redis'
import type { Scheduler } from './scheduler'

/** What a keeper needs of a backend. */
export interface Opened {
  store: TokenStore
  lease: Lease
  /** Milliseconds between two looks at the store. */
  watchInterval: number
  removeLeftovers(): Promise<void>
}

/** What the processes of a world stand on: a store with its lease, and all that can go wrong with them. */
export interface Ground {
  kind: 'plain' | 'files' | 'redis'
  /** Modules in place of Node's, for that process. */
  modules(process: SimulatedProcess): Record<string, unknown>
  open(process: SimulatedProcess, code: Code): Opened
  /** It has ended. */
  leave?(process: SimulatedProcess): void
  /** What was asked for and is not simulated: a run in which there is something is worth nothing. */
  lacks?: readonly string[]
  /** The refresh token that lies there, as it is. */
  token(): string | null
  /** The record beside it. */
  record(): string | null
  /** By hand. */
  putToken(value: string): void
  removeToken(): void
  empty(): void
  /** @returns whether another store is seen meanwhile, or was until now: the empty folder beneath a mount */
  setAway(away: boolean): boolean
  setFull(full: boolean): void
  /** How many writes are reported failed though they have reached the store. */
  setLies(probability: number): void
  /** What has not been flushed is lost, and on a Redis a lease with it. @returns whether something confirmed may have been lost */
  loseUnflushed(): boolean
  /** A lease is lost in a failover. @returns whether there is such a thing here */
  loseLease(): boolean
}

export function plainGround(
  scheduler: Scheduler,
  random: Random,
  watchInterval: number,
): Ground & { store: PlainStore } {
  const store = new PlainStore(scheduler, random.chance)
  return {
    kind: 'plain',
    store,
    modules: () => ({}),
    open: (process, code) => ({
      store: store.storeFor(process, code),
      lease: store.leaseFor(process, code),
      watchInterval,
      removeLeftovers: async () => {},
    }),
    token: () => store.values.get(REFRESH_TOKEN) ?? null,
    record: () => store.values.get(TOKEN_SET) ?? null,
    putToken: (value) => void store.values.set(REFRESH_TOKEN, value),
    removeToken: () => void store.values.delete(REFRESH_TOKEN),
    empty: () => store.values.clear(),
    setAway: (away) => {
      store.faults.away = away
      return false
    },
    setFull: (full) => {
      store.faults.full = full
    },
    setLies: (probability) => {
      store.faults.lies = probability
    },
    loseUnflushed: () => false,
    loseLease: () => {
      store.loseLease()
      return true
    },
  }
}

const DIR = '/data'
const KEYS = [REFRESH_TOKEN, TOKEN_SET]

/** The production code for files, on a simulated disk. */
export function filesGround(random: Random): Ground {
  const disk = createDisk(random, DIR)
  return {
    kind: 'files',
    modules: (process) => ({ 'node:fs': disk.sync(process), 'node:fs/promises': disk.promises(process) }),
    open(_, code) {
      const { store, lease, watchInterval, removeLeftovers } = code.openFiles({
        dir: DIR,
        needsVolume: false,
        leasedKeys: KEYS,
      })
      return { store: code.encrypted(store, []), lease: lease('token'), watchInterval, removeLeftovers }
    },
    token: () => disk.take(REFRESH_TOKEN),
    record: () => disk.take(TOKEN_SET),
    putToken: (value) => disk.put(REFRESH_TOKEN, value),
    removeToken: () => disk.remove(REFRESH_TOKEN),
    empty: () => disk.empty(),
    setAway: (away) => {
      const { away: before } = disk.faults
      disk.faults.away = away && random.pick(['gone', 'gone', 'empty'] as const)
      return before === 'empty' || disk.faults.away === 'empty'
    },
    setFull: (full) => {
      disk.faults.full = full
    },
    setLies: (probability) => {
      disk.faults.failing = probability / 10 // of every call, of which a write makes several
      disk.faults.flush = probability > 0 ? 'fails but keeps' : 'works'
    },
    loseUnflushed() {
      disk.powerLoss()
      return false // what was confirmed had been flushed
    },
    loseLease: () => false,
  }
}

/** The production code for Redis, with its client in place of ioredis'. */
export function redisGround(scheduler: Scheduler, random: Random): Ground {
  const redis = createRedis(
    random,
    () => scheduler.now,
    (delay, what) => scheduler.after(delay, what),
  )
  const key = `production:${REFRESH_TOKEN}`
  const recordKey = `production:${TOKEN_SET}`
  const lag = 1_000
  const failover = () => {
    redis.failover(random.below(lag))
    return true
  }
  return {
    kind: 'redis',
    leave: (process) => redis.leave(process),
    lacks: redis.lacks,
    modules: (process) => ({ ioredis: { Redis: redis.clientClass(process) } }),
    open(_, code) {
      const { store, lease, watchInterval, removeLeftovers } = code.openRedis('redis://127.0.0.1:6379', 'production')
      return { store: code.encrypted(store, []), lease: lease('token'), watchInterval, removeLeftovers }
    },
    token: () => redis.take(key),
    record: () => redis.take(recordKey),
    putToken: (value) => redis.put(key, value),
    removeToken: () => redis.remove(key),
    empty: () => redis.flushAll(),
    setAway: (away) => {
      redis.faults.away = away && random.pick(['refused', 'hung', 'silent'] as const)
      return false
    },
    setFull: (full) => {
      redis.faults.full = full
    },
    setLies: (probability) => {
      redis.faults.answersLost = probability / 5
    },
    loseUnflushed: failover,
    loseLease: failover,
  }
}
