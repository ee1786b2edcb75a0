import { startRedis } from '../support/redis'
import { startUpstashAdapter } from '../support/upstash-adapter'
import type { Platform } from './platform'

export interface Store {
  /** What tells the output where its state is kept. */
  env: Record<string, string>
  stop(): Promise<unknown>
}

/** An empty one. */
export async function startStore(kind: Platform['store']): Promise<Store> {
  if (kind === 'files' || kind === 'durable-object') return { env: {}, stop: async () => {} } // in the output's cwd
  const redis = await startRedis()
  if (kind === 'redis') return { env: { REDIS_URL: redis.url }, stop: redis.stop }
  const { url, token, stop } = await startUpstashAdapter(redis.url)
  return {
    env: { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token },
    stop: async () => {
      await stop()
      await redis.stop()
    },
  }
}
