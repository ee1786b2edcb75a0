import { callUpstash, type UpstashOptions } from './commands/upstash'
import type { Backend } from './index'
import { openShared } from './shared'

/** Upstash's Redis, by HTTP: for platforms where no connection lasts. */
export function openUpstash(options: UpstashOptions, environment: string): Backend {
  return openShared(callUpstash(options), environment, 50_000) // its plans count commands
}
