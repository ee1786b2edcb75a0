import type { Check, Durability } from '../storage'
import { isStorageError } from '../storage'
import type { Clock } from './keeper/clock'

/** Whether what is stored lasts: what the platform is known for, and what the store says of itself. */
export interface Lasting {
  /** Why it does not; undefined: it does, or nobody knows. Asks the store where that was long ago; never throws. */
  warning(): Promise<string | undefined>
  /** Asks where that was long ago; for a loop. Never throws. */
  tick(): Promise<void>
  /** For the doctor: asks anew. */
  check: Check
}

/** Milliseconds between two questions: how a Redis is set up can be changed while it runs. */
const AGAIN = 600_000
/** Milliseconds, where it could not be asked. */
const SOON = 10_000

/**
 * @param known why what is stored would not last on this platform, whatever the store says
 * @param ask undefined: the store always lasts
 */
export function createLasting(
  known: string | undefined,
  ask: (() => Promise<Durability>) | undefined,
  clock: Clock,
): Lasting {
  let said: Durability | undefined
  let due = Number.NEGATIVE_INFINITY
  let underway: Promise<Durability> | undefined

  /** @throws StorageError when it cannot be asked */
  function look(how: () => Promise<Durability>): Promise<Durability> {
    underway ??= how()
      .then((found) => {
        due = clock.monotonic() + AGAIN
        tell(found)
        said = found
        return found
      })
      .finally(() => {
        underway = undefined
      })
    return underway
  }

  /** What is not as it could be, once; and once that it is well again. */
  function tell(found: Durability): void {
    if (found.message === said?.message) return
    if (found.hint) console.warn(inFull(found))
    else if (said?.hint) console.log(found.message)
  }

  async function tick(): Promise<void> {
    if (!ask || clock.monotonic() < due) return
    due = clock.monotonic() + SOON
    await look(ask).catch(() => {}) // that it is away is said by whatever reads or writes
  }

  return {
    tick,
    async warning() {
      await (underway?.catch(() => {}) ?? tick())
      return known ?? (said?.lasts === false ? inFull(said) : undefined)
    },
    check: {
      name: 'durability',
      async look() {
        if (!ask) return undefined
        try {
          const { message, hint } = await look(ask)
          return { ok: hint === undefined, message, hint }
        } catch (error) {
          if (isStorageError(error, 'unavailable')) return undefined // `writable` says so
          throw error
        }
      },
    },
  }
}

function inFull({ message, hint }: Durability): string {
  return [message, hint].filter(Boolean).join(' ')
}
