import { StorageError } from '../errors'
import type { HeldLease, Lease } from '../lease'

/**
 * Waiting for a lease by trying again and again.
 * @param look milliseconds between two tries
 */
export function waitBy(tryAcquire: () => Promise<HeldLease | undefined>, look: number): Lease['acquire'] {
  return async ({ unless, timeout = 30_000 } = {}) => {
    const end = performance.now() + timeout
    for (;;) {
      const held = await tryAcquire()
      if (held) return held
      if (await unless?.()) return undefined
      if (performance.now() > end) {
        throw new StorageError(
          'unavailable',
          'another instance is busy with the sign-in',
          'Try again in a few seconds.',
        )
      }
      await new Promise((resolve) => setTimeout(resolve, look))
    }
  }
}
