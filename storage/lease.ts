/** The right to refresh, sign in or sign out: over all instances on one store, one holds it at a time. */
export interface Lease {
  /**
   * Waits until the lease is free and takes it.
   * @param options.unless asked again and again while waiting; answering true ends the wait without the lease
   * @param options.timeout milliseconds to wait at most (default 30 000)
   * @returns the held lease; undefined when `unless` said so
   * @throws StorageError `unavailable` when it cannot be had in time or the store is gone
   */
  acquire(options?: { unless?: () => Promise<boolean>; timeout?: number }): Promise<HeldLease | undefined>
  /** Takes the lease if it is free at this moment; undefined if it is not. */
  tryAcquire(): Promise<HeldLease | undefined>
}

export interface HeldLease {
  /** Throws StorageError `lease_lost` unless the lease is still ours. To be asked right before sending and before saving. */
  check(): Promise<void>
  /** Gives the lease back; never throws. A lease that was lost meanwhile is left to its new holder. */
  release(): Promise<void>
}
