import { KeeperError } from '../errors'
import { type Clock, wallTimeOf } from './clock'
import type { KeeperParts } from './parts'
import { isInDoubt, refusalOf, type State, setOf, tokenOf } from './state'
import { lifetime, margin, refreshAheadAt, type TokenSet, timeLeft } from './token-set'
import { STORAGE_PAUSE } from './trouble'

/** What may be done, what is due, and why there is no token: questions about a state and a moment, which change nothing. */

/** What a question is asked of. */
export interface Moment {
  state: State
  clock: Clock
  config: KeeperParts['config']
  isClosing: boolean
}

/** Milliseconds: a token is the answer to whoever wants a new one for so long after its issue (rule 4). */
const JUST_REFRESHED = 10_000
/** Milliseconds after an outage of the store, for which whoever could not save into it comes first. */
const HOLDERS_TURN = 10_000
/** Milliseconds between two looks at a store that could not be read, where a look has to be arranged for. */
const UNREADABLE_PAUSE = 60_000

/** The access token in memory, with at least `need` ms of life. */
export function inMemory({ state, clock }: Moment, need: number): TokenSet | undefined {
  const set = setOf(state)
  return set && timeLeft(set, clock) >= need ? set : undefined
}

/** A pause between two attempts is on. */
export function isPausing({ state: { trouble }, clock }: Moment): boolean {
  return !!trouble && clock.monotonic() < trouble.since + trouble.pause
}

export function isRefreshPossible(moment: Moment): boolean {
  const { state, config, isClosing } = moment
  return (
    !!tokenOf(state) &&
    refusalOf(state) === undefined &&
    !state.store.unreadable &&
    !state.unsaved && // rule 8: no second rotation before the first is saved
    !isClosing &&
    !!config.clientId &&
    !isPausing(moment)
  )
}

export function isRefreshDue(moment: Moment): boolean {
  const { state, clock } = moment
  if (!isRefreshPossible(moment)) return false
  // Who began it may hold what it brought, and be about to save it: sent again, the old token would end both (rules 5, 8).
  if (isInDoubt(state) && clock.monotonic() - state.store.backAt < HOLDERS_TURN) return false
  // After a failure somebody is waiting for it, even if it was not due.
  return isInDoubt(state) || !!state.trouble || isTimeToRefresh(moment)
}

/** Rule 2. */
export function isTimeToRefresh({ state, clock, config }: Moment): boolean {
  const set = setOf(state)
  return !set || timeLeft(set, clock) <= refreshAheadAt(set, config.refreshInterval)
}

/** The token in memory is another than the named one, and good for a while (rule 4). */
export function isNews({ state, clock }: Moment, named: TokenSet | undefined): boolean {
  const set = setOf(state)
  return !!set && !isInDoubt(state) && set.accessToken !== named?.accessToken && timeLeft(set, clock) >= margin(set)
}

export function isJustIssued({ clock }: Moment, set: TokenSet | undefined): boolean {
  const age = set ? clock.wall() - set.issuedAt : -1
  return age >= 0 && age < JUST_REFRESHED && !!set && timeLeft(set, clock) >= margin(set)
}

/** Whoever asks may cut a pause short, but not one that Yoto asked for, and not in a storm. */
export function mayNotHurry(moment: Moment): KeeperError | undefined {
  const { state, clock } = moment
  const { trouble } = state
  const isPatient = trouble && (trouble.told || clock.monotonic() - trouble.since < JUST_REFRESHED)
  return isPatient && isPausing(moment) ? trouble.error : undefined
}

/** Milliseconds that a token must have left for somebody who wants `minTtl`; undefined: there is none. */
export function enoughFor({ state }: Moment, minTtl: number): number | undefined {
  const set = setOf(state)
  return set && Math.max(margin(set), Math.min(minTtl, lifetime(set)))
}

/** When something is to be done next, where nobody looks every so often: milliseconds since 1970; undefined: there is no need. */
export function nextDue(moment: Moment): number | undefined {
  const { state, clock, config, isClosing } = moment
  const { unsaved, store, kept, trouble } = state
  if (isClosing) return undefined
  if (unsaved) return wallTimeOf(unsaved.notBefore, clock)
  if (state.debt || store.emptied || store.unwritable) return clock.wall() + STORAGE_PAUSE
  if (store.unreadable) return clock.wall() + UNREADABLE_PAUSE
  if (kept.is !== 'token' || refusalOf(state) !== undefined || !config.clientId) return undefined
  if (trouble && isPausing(moment)) return wallTimeOf(trouble.since + trouble.pause, clock)
  const set = setOf(state)
  if (isRefreshDue(moment) || !set) return clock.wall()
  return clock.wall() + timeLeft(set, clock) - refreshAheadAt(set, config.refreshInterval)
}

/** Why no token can be had. */
export function whyNone({ state, config }: Moment): KeeperError {
  const { kept, store, unsaved, trouble } = state
  if (!config.clientId) return notConfigured()
  if (store.unreadable) return store.unreadable
  if (kept.is === 'unusable') return kept.why
  if (unsaved?.why) return unsaved.why
  const refusal = refusalOf(state)
  if (refusal !== undefined) {
    return new KeeperError('needs_sign_in', `Yoto no longer accepts the sign-in. ${refusal}`, {
      hint: 'Sign in again on the page.',
    })
  }
  if (kept.is !== 'token' && !unsaved) {
    return new KeeperError('signed_out', 'Nobody is signed in.', { hint: 'Sign in on the page.' })
  }
  return (
    trouble?.error ??
    new KeeperError('yoto_unreachable', 'No valid token can be had now.', { hint: 'Try again in a minute.' })
  )
}

export function notConfigured(): KeeperError {
  return new KeeperError('not_configured', 'No client id is set, so nobody can sign in to Yoto.', {
    hint: 'Get one in the developer dashboard at https://yoto.dev, set YOTO_CLIENT_ID to it and restart.',
  })
}
