import { REFRESH_TOKEN, TOKEN_SET } from '../../server/keeper/records'
import type { Lease, TokenStore } from '../../storage'
import type { Code } from './code'
import { PlainStore } from './plain-store'
import type { SimulatedProcess } from './process'
import type { Random } from './random'
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
  /** The refresh token that lies there, as it is. */
  token(): string | null
  /** The record beside it. */
  record(): string | null
  /** By hand. */
  putToken(value: string): void
  removeToken(): void
  empty(): void
  setAway(away: boolean): void
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

export const KEYS = [REFRESH_TOKEN, TOKEN_SET]
