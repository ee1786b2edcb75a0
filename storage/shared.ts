import { writable } from './checks/writable'
import type { Command, Connection } from './command'
import type { Backend } from './index'
import { redisLease } from './leases/redis'
import { redisStore } from './stores/redis'

/**
 * A store that several environments may share; the keys of each begin with its name.
 * @param toChange as redisStore's
 */
export function openShared(
  connection: Connection,
  environment: string,
  watchInterval: number,
  toChange?: (key: string) => Command,
): Backend {
  const prefix = `${environment}:`
  const store = redisStore(connection.run, prefix, toChange)
  return {
    store,
    lease: (name) => redisLease(connection.run, `${prefix}.yoto_${name}_lease`),
    place: connection.place,
    watchInterval,
    removeLeftovers: async () => {}, // a crash leaves none
    checks: [writable(store, connection.place)],
    close: connection.close,
  }
}
