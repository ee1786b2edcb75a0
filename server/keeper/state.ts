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
  /** What is still to be noted in the store: paid under the lease, after the record was read anew. */
  readonly debts: readonly Debt[]
  /** When they are tried again, by the monotonic clock. */
  readonly payAt: number
}

/** What the store holds, as it was last seen. */
export type Kept =
  | { readonly is: 'unread' }
  /** What lies there is no token. */
  | { readonly is: 'unusable'; readonly why: KeeperError }
  /** `signedOutAt`: as its record says. */
  | { readonly is: 'nothing'; readonly signedOutAt?: string }
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
  readonly replaces: Replaceable
  /** Missing where the lease was lost, and what the store holds now is about to be seen. */
  readonly why?: KeeperError
  /** It is handed out already. */
  readonly isUsed: boolean
  /** By the monotonic clock. */
  readonly notBefore: number
}

/**
 * What the store held when Yoto issued a set, as far as it could be seen: that may be replaced, and nothing that has come since (rule 6).
 */
export interface Replaceable {
  readonly by: 'refresh' | 'sign-in'
  /** The token's bytes; null: nothing; undefined: it could not be read. */
  readonly raw: string | null | undefined
  /** When somebody had last signed out. */
  readonly signedOutAt?: string
}

export interface StoreState {
  readonly unreadable?: KeeperError
  /** Since when, by the monotonic clock: it was tried last then. */
  readonly unwritable?: { readonly why: KeeperError; readonly at: number }
  /** It was emptied while we hold a sign-in, and does not take it back. */
  readonly emptied?: KeeperError
  /** When it was found again after an outage, by the monotonic clock. */
  readonly backAt: number
  /** When what it had lost was saved again, by the monotonic clock. */
  readonly savedAgainAt: number
}

/** `since` when, by the monotonic clock; `failures`: attempts in a row that brought no answer about the token. */
export type TroubleSince = Trouble & { readonly since: number; readonly failures: number }

/** Each is about one token, and moot once another is stored. */
export type Debt =
  /** Yoto has refused it. */
  | { readonly note: 'refusal'; readonly refusal: Refusal }
  /** It was removed from outside: the access token in its record is to go too. */
  | { readonly note: 'removal' }
  /** It was removed by a sign-out, and the record could not be written. */
  | { readonly note: 'sign-out'; readonly signedOut: SignedOut }
  /** A sign-out has got no further than its record: it is still to be removed. */
  | { readonly note: 'removal by sign-out'; readonly fingerprint: string }

type Refusal = NonNullable<TokenRecord['refusals']>[number]
type SignedOut = NonNullable<TokenRecord['signed_out']>

const GOOD: Verdict = { is: 'good' }

const NEVER = Number.NEGATIVE_INFINITY

export const BEGINNING: State = {
  kept: { is: 'unread' },
  store: { backAt: NEVER, savedAgainAt: NEVER },
  debts: [],
  payAt: NEVER,
}

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

/** Attempts in a row that brought no answer about the token. */
export function failuresOf({ trouble }: State): number {
  return trouble?.failures ?? 0
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

export function foundNothing(state: State, signedOutAt: string | undefined): State {
  return {
    ...withoutToken(state),
    kept: { is: 'nothing', signedOutAt },
    store: { ...readable(state), emptied: undefined },
  }
}

/** The store has lost what we still hold: nothing is given up (rule 10). */
export function foundLost(state: State): State {
  return { ...state, store: readable(state) }
}

/** @param now by the monotonic clock, where it was away before */
export function foundAgain(state: State, now: number): State {
  return state.store.unreadable ? { ...state, store: { ...state.store, backAt: now } } : state
}

/** @param set as the record has it */
export function foundToken(state: State, stored: StoredToken, set: TokenSet | undefined, verdict: Verdict): State {
  const current = tokenOf(state)?.set
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

/** @param now by the monotonic clock */
export function savedAgain(state: State, stored: StoredToken, now: number): State {
  const { kept } = state
  return {
    ...state,
    kept: kept.is === 'token' ? { ...kept, stored } : kept,
    store: { ...state.store, emptied: undefined, savedAgainAt: now },
  }
}

/** @param at by the monotonic clock */
export function couldNotWrite(state: State, why: KeeperError, at: number): State {
  return { ...state, store: { ...state.store, unwritable: { why: state.store.unwritable?.why ?? why, at } } }
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
export function leftOpen(state: State, set: TokenSet, replaces: Replaceable): State {
  const before = state.unsaved?.set === set ? state.unsaved : undefined
  return { ...state, unsaved: { set, replaces, why: before?.why, isUsed: !!before?.isUsed, notBefore: 0 } }
}

export function yielded(state: State): State {
  return { ...state, unsaved: undefined }
}

export function signedOut(state: State, signedOutAt: string): State {
  return {
    ...withoutToken(state),
    kept: { is: 'nothing', signedOutAt },
    unsaved: undefined,
    debts: [],
    store: { ...state.store, unreadable: undefined, emptied: undefined },
  }
}

/** @param now by the monotonic clock. A store's failure is no attempt. */
export function gotIntoTrouble(state: State, trouble: Trouble, now: number): State {
  const failures = failuresOf(state) + (trouble.kind === 'storage' ? 0 : 1)
  return { ...state, trouble: { ...trouble, since: now, failures } }
}

/** @param payAt when it is to be tried, by the monotonic clock */
export function owes(state: State, debt: Debt, payAt = NEVER): State {
  return { ...state, debts: [...state.debts.filter(({ note }) => note !== debt.note), debt], payAt }
}

export function couldNotPay(state: State, payAt: number): State {
  return { ...state, payAt }
}

export function paid(state: State, debt: Debt): State {
  return { ...state, debts: state.debts.filter((one) => one !== debt) }
}

function used(state: State): State {
  const store = { ...state.store, unreadable: undefined, emptied: undefined }
  return { ...state, store, trouble: undefined, debts: [] }
}

function withoutToken(state: State): State {
  return { ...state, kept: { is: 'nothing' }, trouble: undefined }
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

/** @param observe sees every state */
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
export function broken({ kept, unsaved, trouble }: State): string | undefined {
  if (kept.is === 'token' && kept.set && kept.set.fingerprint !== kept.stored.fingerprint) {
    return 'an access token of another refresh token is kept'
  }
  if (unsaved?.why && !unsaved.isUsed) return 'what could not be saved is not used'
  if (trouble && kept.is !== 'token' && !unsaved && trouble.kind !== 'storage') return 'trouble without a token'
  return undefined
}
