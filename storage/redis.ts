import { connectRedis } from './commands/redis'
import { whenFlushed } from './durability/flush'
import { redisDurability } from './durability/redis'
import type { Backend } from './index'
import { openShared } from './shared'

/**
 * A Redis, for several machines or where there is no disk.
 * @param leasedKeys what must not be lost: a change of these waits until it is on that Redis' disk, as far as that can be had
 */
export function openRedis(url: string, environment: string, leasedKeys: readonly string[] = []): Backend {
  const wire = connectRedis(url)
  // Redis lets a connection that waits do nothing else, and neither reads nor a lease's beats may stand behind it.
  const waiting = connectRedis(url)
  const flush = whenFlushed(waiting)
  return {
    ...openShared(wire, environment, 5_000, (key) => (leasedKeys.includes(key) ? flush.run : wire.run)),
    durability: redisDurability(wire, flush),
    close() {
      wire.close()
      waiting.close()
    },
  }
}
