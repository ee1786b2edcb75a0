import type { Caller, Later } from './caller'
import type { Random } from './random'
import { clientClassOf } from './redis-client'
import { type NetworkFaults, RedisNetwork } from './redis-network'
import { type RedisRefusals, RedisServer, type RedisSettings } from './redis-server'
import { type UpstashInstead, upstashOf } from './redis-upstash'

/** What can go wrong; each may be changed at any time, `away` with what it does to the connections there are. */
export type RedisFaults = NetworkFaults & RedisRefusals & { upstash?: UpstashInstead }

/** A simulated Redis with its network. */
export interface SimulatedRedis {
  faults: RedisFaults
  /** How it is set up; may be changed as well. */
  settings: RedisSettings
  /** ioredis' `Redis` for that process. */
  clientClass(caller: Caller): ReturnType<typeof clientClassOf>
  /** `ofetch` for that process, with Upstash at the other end. */
  upstash(caller: Caller): ReturnType<typeof upstashOf>
  /** The process has ended; what it has sent may still arrive. */
  leave(caller: Caller): void
  /** Every connection is cut, and what `settings.persistence` does not keep is lost. */
  restart(): void
  /** A replica takes over: connections are cut, and the writes of the last so many ms are lost, but those that WAIT has told of. */
  failover(lost: number): void
  flushAll(): void
  /** As a person does it, whatever is wrong. */
  put(key: string, value: string): void
  /** Puts something there that is not a text. */
  putList(key: string): void
  take(key: string): string | null
  remove(key: string): void
  /** The keys, sorted. */
  list(): string[]
  /** What was asked for and is not simulated, such as a script without its twin: a run in which there is something is worth nothing. */
  lacks: readonly string[]
}

/**
 * @param now virtual time in ms, for what expires and what is lost
 * @param later for what takes time of its own (`slow`, WAITAOF, WAIT); without it they take none: WAITAOF flushes
 */
export function createRedis(random: Random, now: () => number, later?: Later): SimulatedRedis {
  const server = new RedisServer(random, now)
  const network = new RedisNetwork(server, random, now, later)
  const faults: RedisFaults = network.faults
  return {
    faults,
    settings: server.settings,
    clientClass: (caller) => clientClassOf(network, caller),
    upstash: (caller) => upstashOf(network, caller, () => faults.upstash),
    leave: (caller) => network.leaveAll(caller),
    restart() {
      network.cutAll(false)
      server.restart()
    },
    failover(lost) {
      network.cutAll(false)
      server.failover(lost)
    },
    flushAll: () => server.flushAll(),
    put: (key, value) => server.put(key, value),
    putList: (key) => server.put(key, '', true),
    take: (key) => server.take(key),
    remove: (key) => server.remove(key),
    list: () => server.list(),
    lacks: server.lacks,
  }
}
