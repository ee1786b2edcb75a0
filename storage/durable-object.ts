import durableObject, { type ObjectStorage } from './drivers/durable-object'
import type { Backend } from './index'
import { inMemoryLeases } from './leases/in-memory'

/** A Cloudflare Durable Object's own storage, seen from within the object: the only one that reads and writes it. */
export function openDurableObject(storage: ObjectStorage): Backend {
  return {
    driver: durableObject({ storage }),
    lease: inMemoryLeases(),
    place: 'a Cloudflare Durable Object',
    watchInterval: 60_000,
    removeLeftovers: async () => {},
  }
}
