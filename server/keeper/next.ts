import { KeeperError } from '../errors'
import { type Clock, wallTimeOf } from './clock'
import type { KeeperParts } from './parts'
import { isInDoubt, refusalOf, type State, setOf, tokenOf } from './state'
import { lifetime, margin, refreshAheadAt, type TokenSet, timeLeft } from './token-set'
import { STORAGE_PAUSE } from './trouble'

/** What may be done, what is due, and why there is no token: questions about a state and a moment, which change nothing. */

/** What a question is asked of. */
export interface Moment {
  readonly state: State
  readonly clock: Clock
  readonly config: KeeperParts['config']
  readonly isClosing: boolean
}

/** Milliseconds: a token is the answer to whoever wants a new one for so long after its issue (rule 4). */
const JUST_REFRESHED = 10_000
/**
 * Milliseconds after the store was away, or had lost what it held, for which others come first: whoever could not save into it, and
 * whoever knows of a later rotation. Sent again, the old token would end both (rules 5, 8, 10).
 */
const HOLDERS_TURN = 10_000

/** The access token in memory, with at least `need` ms of life. */
export function inMemory({ state, clock }: Moment, need: number): TokenSet | undefined {
  const set = setOf(state)
  return set && timeLeft(set, clock) >= need ? set : undefined
}

// --- refreshing ------------------------------------------------------------------------------------------------------

/** Whether a refresh could bring anything now. */
export function isRefreshPossible(moment: Moment): boolean {
  return mayRefresh(moment) && !isPausing(moment) && !isHoldersTurn(moment)
}

/** Whether it is time for one. */
export function isRefreshDue(moment: Moment): boolean {
  const at = refreshAt(moment)
  return at !== undefined && at <= moment.clock.monotonic()
}

function mayRefresh({ state, config, isClosing }: Moment): boolean {
  return (
    !!tokenOf(state) &&
    refusalOf(state) === undefined &&
    !state.store.unreadable &&
    !state.unsaved && // rule 8: no second rotation before the first is saved
    !isClosing &&
    !!config.clientId
  )
}

/** When the next refresh is due, by the monotonic clock; undefined: none can be had as things stand. */
function refreshAt(moment: Moment): number | undefined {
  const { state } = moment
  const { trouble } = state
  if (!mayRefresh(moment)) return undefined
  return Math.max(
    // After a failure somebody is waiting for it, even if it was not due; and an intent is not to be kept waiting (rule 5).
    trouble || isInDoubt(state) ? Number.NEGATIVE_INFINITY : aheadAt(moment),
    pauseEnd(moment),
    holdersTurnEnd(moment),
  )
}

/** Others come first for a while. */
export function isHoldersTurn(moment: Moment): boolean {
  return moment.clock.monotonic() < holdersTurnEnd(moment)
}

/** By the monotonic clock. */
function holdersTurnEnd({ state }: Moment): number {
  const { backAt, savedAgainAt } = state.store
  return Math.max(savedAgainAt, isInDoubt(state) ? backAt : Number.NEGATIVE_INFINITY) + HOLDERS_TURN
}

/** Rule 2; by the monotonic clock. */
function aheadAt({ state, clock, config }: Moment): number {
  const set = setOf(state)
  if (!set) return Number.NEGATIVE_INFINITY
  return clock.monotonic() + timeLeft(set, clock) - refreshAheadAt(set, config.refreshInterval)
}

/** Rule 2. */
export function isTimeToRefresh(moment: Moment): boolean {
  return aheadAt(moment) <= moment.clock.monotonic()
}

/** When the pause between two attempts ends, by the monotonic clock. */
function pauseEnd({ state: { trouble } }: Moment): number {
  return trouble ? trouble.since + trouble.pause : Number.NEGATIVE_INFINITY
}

function isPausing(moment: Moment): boolean {
  return moment.clock.monotonic() < pauseEnd(moment)
}

/** The token in memory is another than the named one, and good for a while (rule 4). */
export function isNews({ state, clock }: Moment, named: TokenSet | undefined): boolean {
  const set = setOf(state)
  return !!set && !isInDoubt(state) && set.accessToken !== named?.accessToken && timeLeft(set, clock) >= margin(set)
}

/** The token in memory is the answer to whoever wants a new one (rule 4). */
export function isJustIssued({ state, clock }: Moment): boolean {
  const set = setOf(state)
  const age = set ? clock.wall() - set.issuedAt : -1
  return !!set && age >= 0 && age < JUST_REFRESHED && timeLeft(set, clock) >= margin(set)
}

/**
 * Why nobody may cut the pause short that is on: Yoto asked for it, or it has only begun.
 * @returns undefined: whoever asks may
 */
export function whyNotNow(moment: Moment): KeeperError | undefined {
  const { state, clock } = moment
  const { trouble } = state
  const mustWait = trouble && (trouble.told || clock.monotonic() - trouble.since < JUST_REFRESHED)
  return mustWait && isPausing(moment) ? trouble.error : undefined
}

/** Milliseconds that a token must have left for somebody who wants `minTtl`; undefined: there is none. */
export function enoughFor({ state }: Moment, minTtl: number): number | undefined {
  const set = setOf(state)
  return set && Math.max(margin(set), Math.min(minTtl, lifetime(set)))
}

// --- what is to be done ----------------------------------------------------------------------------------------------

/** `look`, at the store, is look.ts's to pace. */
export type Step = 'save' | 'probe' | 'pay' | 'refresh'

/** What is to be done, and when by the monotonic clock: `tick` does what is due, `nextDue` names the earliest. */
export function steps(moment: Moment): { what: Step; at: number }[] {
  const { unsaved, store, debts, payAt } = moment.state
  if (unsaved) return [{ what: 'save', at: unsaved.notBefore }]
  const all: { what: Step; at: number | undefined }[] = [
    { what: 'probe', at: store.unwritable && store.unwritable.at + STORAGE_PAUSE },
    { what: 'pay', at: debts.length > 0 ? payAt : undefined },
    { what: 'refresh', at: refreshAt(moment) },
  ]
  return all.filter((step): step is { what: Step; at: number } => step.at !== undefined)
}

export function isDue(moment: Moment, what: Step): boolean {
  const now = moment.clock.monotonic()
  return steps(moment).some((step) => step.what === what && step.at <= now)
}

/**
 * When something is to be done next, where nobody looks every so often: milliseconds since 1970; undefined: there is no need.
 * @param lookAt when the store is to be looked at, by the monotonic clock
 */
export function nextDue(moment: Moment, lookAt: number | undefined): number | undefined {
  if (moment.isClosing) return undefined
  const times = steps(moment).map(({ at }) => at)
  if (lookAt !== undefined) times.push(lookAt)
  return times.length > 0 ? wallTimeOf(Math.min(...times), moment.clock) : undefined
}

// --- why not ---------------------------------------------------------------------------------------------------------

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
