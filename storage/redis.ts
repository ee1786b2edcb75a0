import { connectRedis } from './commands/redis'
import type { Backend } from './index'
import { openShared } from './shared'

/** A Redis, for several machines or where there is no disk. */
export function openRedis(url: string, environment: string): Backend {
  return openShared(connectRedis(url), environment, 5_000)
}
