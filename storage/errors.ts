/** Why the store did not do what was asked. */
export type StorageErrorCode = 'unavailable' | 'unusable' | 'conflict' | 'lease_lost'

/**
 * A failure of the store or of its lease.
 * - `unavailable`: it cannot be reached, read or written now
 * - `unusable`: something else than a value of ours is in the place (a directory, far too much data)
 * - `conflict`: a conditional write found another value than the caller expected
 * - `lease_lost`: somebody else has taken the lease over
 */
export class StorageError extends Error {
  override readonly name = 'StorageError'
  constructor(
    readonly code: StorageErrorCode,
    message: string,
    readonly hint?: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}
