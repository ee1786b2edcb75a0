import type { KeeperError } from '../errors'
import type { StoredToken, TokenRecord } from './records'
import type { TokenSet } from './token-set'
import type { Trouble } from './trouble'

/**
 * What the keeper knows, and everything that changes it: pure, without a clock and without waiting. Only `Memory.learn` puts a new state
 * in the place of the old one.
 */
export interface State {
  readonly kept: Kept
  /** Rule 8: what Yoto has issued and the store has not taken yet. */
  readonly unsaved?: Unsaved
  readonly store: StoreState
  /** What stands in the way of a refresh. */
  readonly trouble?: TroubleSince
  /** Attempts in a row that brought no answer about the token. */
  readonly failures: number
  /** Writes of the record that failed, and are owed to the store. */
  readonly debt?: Debt
}

/** What the store holds, as it was last seen. */
export type Kept =
  | { readonly is: 'unread' }
  /** What lies there is no token. */
  | { readonly is: 'unusable'; readonly why: KeeperError }
  | { readonly is: 'nothing' }
  | KeptToken

export interface KeptToken {
  readonly is: 'token'
  readonly stored: StoredToken
  /** The access token that belongs to it, if it is known; it may have run out. */
  readonly set?: TokenSet
  readonly verdict: Verdict
}

export type Verdict =
  | { readonly is: 'good' }
  /** A refresh of it was begun, and its outcome is not known (rule 5). */
  | { readonly is: 'in doubt' }
  /** Yoto no longer accepts it (rule 7). */
  | { readonly is: 'refused'; readonly message: string }

export interface Unsaved {
  readonly set: TokenSet
  /** What the store must still hold; undefined: a sign-in, which replaces whatever is there. */
  readonly expected: string | null | undefined
  /** Missing where the lease was lost, and what the store holds now is about to be seen. */
  readonly why?: KeeperError
  /** It is handed out already. */
  readonly isUsed: boolean
  /** By the monotonic clock. */
  readonly notBefore: number
}

export interface StoreState {
  readonly unreadable?: KeeperError
  readonly unwritable?: KeeperError
  /** It was emptied while we hold a sign-in, and does not take it back. */
  readonly emptied?: KeeperError
  /** When it was found again after an outage, by the monotonic clock. */
  readonly backAt: number
}

/** `since` when, by the monotonic clock. */
export type TroubleSince = Trouble & { readonly since: number }

export type Debt =
  | { readonly note: 'refusal'; readonly record: TokenRecord }
  | { readonly note: 'removal' }
  | { readonly note: 'sign-out'; readonly record: TokenRecord }

const GOOD: Verdict = { is: 'good' }

export const BEGINNING: State = { kept: { is: 'unread' }, store: { backAt: Number.NEGATIVE_INFINITY }, failures: 0 }

// --- questions -------------------------------------------------------------------------------------------------------

export function tokenOf({ kept }: State): KeptToken | undefined {
  return kept.is === 'token' ? kept : undefined
}

/** The access token in memory; it may have run out. */
export function setOf({ kept, unsaved }: State): TokenSet | undefined {
  return unsaved?.isUsed ? unsaved.set : kept.is === 'token' ? kept.set : undefined
}

export function refusalOf(state: State): string | undefined {
  const verdict = tokenOf(state)?.verdict
  return verdict?.is === 'refused' ? verdict.message : undefined
}

export function isInDoubt(state: State): boolean {
  return tokenOf(state)?.verdict.is === 'in doubt'
}

/** A sign-in is held: stored, or issued and not stored yet. */
export function isHeld({ kept, unsaved }: State): boolean {
  return kept.is === 'token' || unsaved !== undefined
}

// --- transitions: what the store says --------------------------------------------------------------------------------

export function couldNotRead(state: State, unreadable: KeeperError): State {
  return { ...state, store: { ...state.store, unreadable } }
}

export function foundUnusable(state: State, why: KeeperError): State {
  return { ...withoutToken(state), kept: { is: 'unusable', why }, store: readable(state) }
}

export function foundNothing(state: State): State {
  return { ...withoutToken(state), store: { ...readable(state), emptied: undefined } }
}

/** Both of our records are gone while a sign-in is held: nothing is given up (rule 10). */
export function foundEmptied(state: State): State {
  return { ...state, store: readable(state) }
}

/** @param now by the monotonic clock, where it was away before */
export function foundAgain(state: State, now: number): State {
  return state.store.unreadable ? { ...state, store: { ...state.store, backAt: now } } : state
}

/** @param set as the record has it */
export function foundToken(state: State, stored: StoredToken, set: TokenSet | undefined, verdict: Verdict): State {
  const current = setOf(state)
  // The set in memory knows more than its record (its age by the monotonic clock) and may outlive it.
  const isNew = current?.fingerprint !== stored.fingerprint || (set && set.accessToken !== current.accessToken)
  return {
    ...state,
    kept: { is: 'token', stored, set: isNew ? set : current, verdict },
    trouble: isNew && set ? undefined : state.trouble, // another instance got through
    store: readable(state),
  }
}

export function cameIntoDoubt(state: State): State {
  return judged(state, { is: 'in doubt' })
}

export function wasRefused(state: State, message: string): State {
  return judged(state, { is: 'refused', message })
}

function judged(state: State, verdict: Verdict): State {
  const { kept } = state
  return kept.is === 'token' ? { ...state, kept: { ...kept, verdict } } : state
}

/** What is stored is what is known, and there. */
export function isUnchanged(state: State): State {
  return state.store.emptied ? { ...state, store: { ...state.store, emptied: undefined } } : state
}

export function couldNotSaveAgain(state: State, emptied: KeeperError): State {
  return { ...state, store: { ...state.store, emptied: state.store.emptied ?? emptied } }
}

export function savedAgain(state: State, stored: StoredToken): State {
  const { kept } = state
  return {
    ...state,
    kept: kept.is === 'token' ? { ...kept, stored } : kept,
    store: { ...state.store, emptied: undefined },
  }
}

export function couldNotWrite(state: State, unwritable: KeeperError): State {
  return { ...state, store: { ...state.store, unwritable: state.store.unwritable ?? unwritable } }
}

export function couldWrite(state: State): State {
  return state.store.unwritable ? { ...state, store: { ...state.store, unwritable: undefined } } : state
}

// --- transitions: what we do -----------------------------------------------------------------------------------------

/** Saved, and from now on used. */
export function saved(state: State, stored: StoredToken, set: TokenSet): State {
  return { ...used(state), kept: { is: 'token', stored, set, verdict: GOOD }, unsaved: undefined }
}

/** Used though it is not saved (rule 8). */
export function held(state: State, unsaved: Unsaved): State {
  const { kept } = state
  return {
    ...used(state),
    kept: kept.is === 'token' ? { ...kept, verdict: GOOD } : kept.is === 'unusable' ? { is: 'unread' } : kept,
    unsaved,
  }
}

/** To be settled under another lease, before anything is used or said. */
export function leftOpen(state: State, set: TokenSet, expected: Unsaved['expected']): State {
  const isUsed = state.unsaved?.set === set && state.unsaved.isUsed
  return { ...state, unsaved: { set, expected, isUsed, notBefore: 0 } }
}

export function yielded(state: State): State {
  return { ...state, unsaved: undefined }
}

export function signedOut(state: State): State {
  return {
    ...withoutToken(state),
    unsaved: undefined,
    store: { ...state.store, unreadable: undefined, emptied: undefined },
  }
}

export function gotIntoTrouble(state: State, trouble: TroubleSince): State {
  return { ...state, trouble }
}

export function failed(state: State): State {
  return { ...state, failures: state.failures + 1 }
}

export function owes(state: State, debt: Debt | undefined): State {
  return { ...state, debt }
}

function used(state: State): State {
  const store = { ...state.store, unreadable: undefined, emptied: undefined }
  return { ...state, store, trouble: undefined, failures: 0, debt: undefined }
}

function withoutToken(state: State): State {
  return { ...state, kept: { is: 'nothing' }, trouble: undefined, failures: 0 }
}

function readable({ store }: State): StoreState {
  return store.unreadable ? { ...store, unreadable: undefined } : store
}

// --- the one that changes ----------------------------------------------------------------------------------------------

export interface Memory {
  readonly state: State
  /** The only way in which the state changes. */
  learn(next: State): void
}

/** @param observe sees every state: for tests */
export function createMemory(observe?: (state: State) => void): Memory {
  let state = BEGINNING
  return {
    get state() {
      return state
    },
    learn(next) {
      state = next
      observe?.(next)
    },
  }
}

/** What must not be, in words; undefined: all is well. */
export function broken({ kept, unsaved, trouble, failures }: State): string | undefined {
  if (kept.is === 'token' && kept.set && kept.set.fingerprint !== kept.stored.fingerprint) {
    return 'an access token of another refresh token is kept'
  }
  if (unsaved?.why && !unsaved.isUsed) return 'what could not be saved is not used'
  if (trouble && kept.is !== 'token' && !unsaved && trouble.kind !== 'storage') return 'trouble without a token'
  if (failures > 0 && kept.is !== 'token' && !unsaved) return 'failures without a token'
  return undefined
}
