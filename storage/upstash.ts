import { callUpstash, type UpstashOptions } from './commands/upstash'
import type { Backend } from './index'
import { openShared } from './shared'

/**
 * Upstash's Redis, by HTTP: for platforms where no connection lasts.
 *
 * It is not asked how durable it is: every write is on block storage as well as in memory, and it evicts only where its owner has turned that
 * on (upstash.com/docs/redis/features/durability, .../eviction); its INFO tells neither (.../commands/server/info).
 */
export function openUpstash(options: UpstashOptions, environment: string): Backend {
  return openShared(callUpstash(options), environment, 50_000) // its plans count commands
}
