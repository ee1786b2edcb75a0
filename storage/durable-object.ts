import { writable } from './checks/writable'
import durableObject, { type ObjectStorage } from './drivers/durable-object'
import type { Backend } from './index'
import { inMemoryLeases } from './leases/in-memory'

/** A Cloudflare Durable Object's own storage, seen from within the object: the only one that reads and writes it. */
export function openDurableObject(storage: ObjectStorage): Backend {
  const driver = durableObject({ storage })
  const place = 'a Cloudflare Durable Object'
  return {
    driver,
    lease: inMemoryLeases(),
    place,
    watchInterval: 60_000,
    removeLeftovers: async () => {},
    checks: [writable(driver, place)],
  }
}
