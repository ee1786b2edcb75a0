import type { KeeperError } from '../errors'
import type { Moment } from './next'
import { isHeld, refusalOf, setOf } from './state'
import { refreshAheadAt, type TokenSet, timeLeft } from './token-set'
import type { Trouble } from './trouble'

/** What the keeper knows at one moment; everything that is said of the sign-in is derived from it. */
export interface Snapshot {
  /** A refresh token is kept, as far as the store could last be read; undefined: it never could, or what lies there is no token. */
  kept: boolean | undefined
  /** What is known of the access token in memory; it may have run out. */
  set?: Omit<TokenSet, 'refreshToken'>
  timeLeft: number
  /** Milliseconds since 1970. */
  refreshAt?: number
  refusal?: string
  /** Why the stored token cannot be used or read. */
  unusable?: KeeperError
  trouble?: { kind: Trouble['kind']; error: KeeperError }
  /** What is kept is in memory only, and why. */
  notSaved?: KeeperError
  /** Why the store cannot be read or written. */
  storage?: KeeperError
}

export function snapshotOf({ state, clock, config }: Moment): Snapshot {
  const { kept, unsaved, store, trouble } = state
  const set = setOf(state)
  return {
    kept: isHeld(state) ? true : kept.is === 'nothing' ? false : undefined,
    set: set && withoutRefreshToken(set),
    timeLeft: set ? timeLeft(set, clock) : 0,
    refreshAt: set && set.expiresAt - refreshAheadAt(set, config.refreshInterval),
    refusal: refusalOf(state),
    unusable: store.unreadable ?? (kept.is === 'unusable' ? kept.why : undefined),
    trouble,
    notSaved: unsaved?.why ?? store.emptied,
    storage: store.unreadable ?? store.unwritable?.why ?? (trouble?.kind === 'storage' ? trouble.error : undefined),
  }
}

function withoutRefreshToken({ refreshToken, ...rest }: TokenSet): Omit<TokenSet, 'refreshToken'> {
  return rest
}
