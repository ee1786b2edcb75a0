import { type HeldLease, isStorageError, type Lease, StorageError } from '../../storage'

/** One at a time: within this process by a queue, over all processes by the lease (rule 3). */
export interface Turns {
  /** Something that may take long is under way, or waits for its turn: who asks meanwhile is answered from memory. */
  readonly isBusy: boolean
  /** Somebody has his turn. */
  readonly isTaken: boolean
  /** Nothing new is to begin. */
  readonly isClosing: boolean
  /** After everything that was begun before. */
  next<T>(work: () => Promise<T>): Promise<T>
  /** The same, for what may take long. */
  nextLong<T>(work: () => Promise<T>): Promise<T>
  /**
   * The same, and under the lease. Work that finds the lease lost is begun anew.
   * @param options.unless asked while waiting for the lease; true: it is not necessary any more
   * @param options.failed hears, within the turn, of a failure of store or lease
   * @returns undefined when `unless` said so
   */
  nextWithLease<T>(
    work: (held: HeldLease) => Promise<T>,
    options?: { unless?: () => Promise<boolean>; failed?: (error: StorageError) => void },
  ): Promise<T | undefined>
  /** Within a turn: under the lease. */
  withLease(work: () => Promise<void>): Promise<void>
  close(): void
  /** Everything that was begun has ended. */
  ended(): Promise<void>
  /** Gives back a lease that was kept. */
  release(): Promise<void>
}

const TRIES = 3

/** @param mustKeepLease the lease is not given back for as long as something is unsaved (rule 8) */
export function createTurns(parts: {
  lease: Lease
  removeLeftovers(): Promise<void>
  mustKeepLease(): boolean
}): Turns {
  const { lease, removeLeftovers, mustKeepLease } = parts
  let queue: Promise<unknown> = Promise.resolve()
  let underway = 0
  let isTaken = false
  let isClosing = false
  let keptLease: HeldLease | undefined
  let leftoversRemoved = false

  function next<T>(work: () => Promise<T>): Promise<T> {
    const turn = queue.then(async () => {
      isTaken = true
      try {
        return await work()
      } finally {
        isTaken = false
      }
    })
    queue = turn.catch(() => {})
    return turn
  }

  function nextLong<T>(work: () => Promise<T>): Promise<T> {
    underway++
    return next(work).finally(() => underway--)
  }

  async function takeLease(unless?: () => Promise<boolean>): Promise<HeldLease | undefined> {
    if (keptLease && !(await isLost(keptLease))) return keptLease
    await keptLease?.release()
    keptLease = undefined
    const held = await lease.acquire({ unless })
    if (held && !leftoversRemoved) {
      await removeLeftovers().catch(() => {})
      leftoversRemoved = true
    }
    return held
  }

  async function underLease<T>(
    work: (held: HeldLease) => Promise<T>,
    unless?: () => Promise<boolean>,
  ): Promise<T | undefined> {
    for (let attempt = 1; ; attempt++) {
      const held = await takeLease(unless)
      if (!held) return undefined
      try {
        return await work(held)
      } catch (error) {
        if (!isStorageError(error, 'lease_lost') || attempt === TRIES) throw error
      } finally {
        keptLease = mustKeepLease() ? held : undefined
        if (!keptLease) await held.release()
      }
    }
  }

  return {
    get isBusy() {
      return underway > 0
    },
    get isTaken() {
      return isTaken
    },
    get isClosing() {
      return isClosing
    },
    next,
    nextLong,
    nextWithLease(work, { unless, failed } = {}) {
      return nextLong(async () => {
        try {
          return await underLease(work, unless)
        } catch (error) {
          if (error instanceof StorageError) failed?.(error)
          throw error
        }
      })
    },
    async withLease(work) {
      const held = await takeLease()
      try {
        await work()
      } finally {
        await held?.release()
      }
    },
    close() {
      isClosing = true
    },
    async ended() {
      await queue
    },
    async release() {
      await keptLease?.release()
    },
  }
}

/** Somebody else has it; a store that does not answer has not given it to anybody. */
export async function isLost(held: HeldLease): Promise<boolean> {
  return held.check().then(
    () => false,
    (error) => isStorageError(error, 'lease_lost'),
  )
}
