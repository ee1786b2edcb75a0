/** Runs a Redis command and gives its answer. Rejects with StorageError, after 2 seconds at the latest. */
export type Command = (name: string, ...args: (string | number)[]) => Promise<unknown>

/** A Redis that can be asked, whichever way a command gets there. */
export interface Connection {
  run: Command
  /** Where it is, in words without secrets. */
  place: string
  close(): void
}

/** A Redis at the end of a connection that lasts: what is run and asked without waiting in between goes out on it in that order. */
export interface Wire extends Connection {
  /** As `run`, for what this Redis may not know, or may not let us do: undefined if it refuses, and the connection goes on. */
  ask: Command
}

/** Milliseconds that a command may take, with everything that comes before it. */
export const TIME_LIMIT = 2_000
