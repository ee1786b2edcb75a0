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
  ) {
    super(message)
  }
}

/** Whether it is a failure of the store of that kind. */
export function isStorageError(error: unknown, code: StorageErrorCode): error is StorageError {
  return error instanceof StorageError && error.code === code
}

const MENDS: Record<string, string> = {
  EACCES: 'Give the service the right to write there; on Railway set RAILWAY_RUN_UID=0, as volumes belong to root.',
  EPERM: 'Give the service the right to write there; on Railway set RAILWAY_RUN_UID=0, as volumes belong to root.',
  EROFS: 'The file system is read-only: mount it writable, or set DATA_DIR to a folder that is.',
  ENOSPC: 'The disk is full: free some room, or enlarge the volume.',
  EIO: 'The disk cannot be read or written there: the log of the machine (`dmesg`) says more; move the folder to another.',
  EDQUOT: 'The disk quota is used up: free some room, or enlarge the volume.',
  ENOENT: 'The folder is not there: mount the volume, or set DATA_DIR to a folder that exists.',
  ENOTDIR: 'DATA_DIR must name a folder.',
  // Deno, whose errors of this kind have no code.
  NotCapable:
    'Start Deno with --allow-read and --allow-write, for all files: the lease is a symbolic link, which needs both.',
  EISDIR: 'A directory is in the place of a file: move it away.',
}

/** A file system's error in words: what could not be done, its code, and what mends it, if `hint` does not say it better. Ours are returned as they are. */
export function fileError(error: unknown, what: string, hint?: string): StorageError {
  if (error instanceof StorageError) return error
  const { code: given, name } = (error ?? {}) as { code?: string; name?: string }
  const code = given ?? (name === 'NotCapable' ? name : 'unknown error')
  return new StorageError('unavailable', `${what}: ${code}`, hint ?? MENDS[code])
}

/** A message that stands for itself. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}
