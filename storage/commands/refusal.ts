import { StorageError } from '../errors'

/** Whose words are told, and which variables mend what is wrong. */
export interface Server {
  place: string
  /** The variable that holds its address. */
  address: string
  /** What lets us in, with the variable that holds it. */
  credentials: string
}

const REFUSALS: Record<string, { words: string; mend: (server: Server) => string }> = {
  READONLY: { words: 'is a read-only replica', mend: ({ address }) => `Set ${address} to the primary.` },
  OOM: { words: 'is full (maxmemory)', mend: () => 'Give it more memory, or remove what is not needed.' },
  MISCONF: { words: 'cannot save to its disk and takes no writes', mend: () => 'Its log says why.' },
  LOADING: { words: 'is still loading its data', mend: () => 'Wait until it has started.' },
  NOAUTH: { words: 'lets nobody in without a password', mend: ({ credentials }) => `Set ${credentials}.` },
  WRONGPASS: { words: 'does not let this service in', mend: ({ credentials }) => `Check ${credentials}.` },
  NOPERM: {
    words: 'does not permit what is needed: EVAL, GET, SET, DEL, PEXPIRE, STRLEN and SCAN',
    mend: ({ credentials }) => `Check ${credentials}: it must not be a read-only one.`,
  },
}

/** An error that Redis has answered with, in words of ours: its own may quote what was sent. */
export function refusal(reply: string, server: Server): StorageError {
  // Redis before 7 wraps what happened in a script in a sentence.
  if (/\bWRONGTYPE\b/.test(reply)) return new StorageError('unusable', `${server.place} holds something else than text`)
  const code = Object.keys(REFUSALS).find((one) => new RegExp(`\\b${one}\\b`).test(reply))
  const { words, mend } = REFUSALS[code ?? ''] ?? {
    words: `refused a command: ${/^[A-Z]+\b/.exec(reply)?.[0] ?? 'unknown error'}`,
    mend: ({ address }: Server) => `Check that ${address} names a Redis of version 6 or newer.`,
  }
  return new StorageError('unavailable', `${server.place} ${words}`, mend(server))
}

/** It has said nothing that could be understood: `what` happened instead. */
export function unreachable(what: string, { place, address }: Server): StorageError {
  return new StorageError('unavailable', `${place} ${what}`, `Check that it runs and that ${address} is right.`)
}
