import { writable } from './checks/writable'
import type { Backend } from './index'
import { inMemoryLeases } from './leases/in-memory'
import { durableObject, type ObjectStorage } from './stores/durable-object'

/** A Cloudflare Durable Object's own storage, seen from within the object: the only one that reads and writes it. */
export function openDurableObject(storage: ObjectStorage): Backend {
  const store = durableObject(storage)
  const place = 'a Cloudflare Durable Object'
  return {
    store,
    lease: inMemoryLeases(),
    place,
    watchInterval: 60_000,
    removeLeftovers: async () => {},
    checks: [writable(store, place)],
  }
}
