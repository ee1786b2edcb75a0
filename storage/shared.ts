import { writable } from './checks/writable'
import type { Connection } from './command'
import redis from './drivers/redis'
import type { Backend } from './index'
import { redisLease } from './leases/redis'

/** A store that several environments may share; the keys of each begin with its name. */
export function openShared(connection: Connection, environment: string, watchInterval: number): Backend {
  const prefix = `${environment}:`
  const driver = redis({ connection, prefix })
  return {
    driver,
    lease: (name) => redisLease(connection.run, `${prefix}.yoto_${name}_lease`),
    place: connection.place,
    watchInterval,
    removeLeftovers: async () => {}, // a crash leaves none
    checks: [writable(driver, connection.place)],
  }
}
