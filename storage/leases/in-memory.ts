import { StorageError } from '../errors'
import type { HeldLease, Lease } from '../lease'
import { waitBy } from './wait'

/** Milliseconds between two looks of somebody who waits. */
const LOOK = 25

/** Leases, by name, where all who want one share one memory: in a Durable Object, of which Cloudflare runs one at a time. */
export function inMemoryLeases(): (name: string) => Lease {
  const holders = new Map<string, symbol>()

  async function tryAcquire(name: string): Promise<HeldLease | undefined> {
    if (holders.has(name)) return undefined
    const id = Symbol(name)
    holders.set(name, id)
    return {
      async check() {
        if (holders.get(name) !== id) throw new StorageError('lease_lost', 'the lease has been given back')
      },
      async release() {
        if (holders.get(name) === id) holders.delete(name)
      },
    }
  }

  return (name) => {
    const attempt = () => tryAcquire(name)
    return { tryAcquire: attempt, acquire: waitBy(attempt, LOOK) }
  }
}
