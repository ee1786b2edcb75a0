import type { IssuedTokens } from '../yoto/outcome'
import { createDebts } from './debts'
import { createLook } from './look'
import {
  enoughFor,
  inMemory,
  isDue,
  isJustIssued,
  isRefreshDue,
  isRefreshPossible,
  type Moment,
  nextDue,
  whyNone,
  whyNotNow,
} from './next'
import type { KeeperParts, Shared } from './parts'
import { createRefresh } from './refresh'
import { createSave } from './save'
import { createSignIn } from './sign-in'
import { type Snapshot, snapshotOf } from './snapshot'
import { createMemory, refusalOf, setOf, tokenOf } from './state'
import { type TokenSet, timeLeft } from './token-set'
import { createTurns } from './turn'

export { notConfigured } from './next'
export type { KeeperParts } from './parts'
export type { Snapshot } from './snapshot'

/** What is handed out: all of one moment, and no refresh token. */
export interface Access {
  accessToken: string
  /** Milliseconds since 1970. */
  expiresAt: number
  /** Milliseconds of life. */
  timeLeft: number
  scope?: string
}

export interface Keeper {
  /** Reads the store and begins to watch it. Never throws: what is wrong shows in the snapshot. */
  start(): Promise<void>
  /**
   * A valid access token, from memory where it can be (rules 1, 2).
   * @param minTtl milliseconds it should have left; a refresh is made for it where that helps
   * @throws KeeperError `signed_out`, `needs_sign_in`, `not_configured`, `storage_unavailable`, or `yoto_*`
   */
  accessToken(minTtl?: number): Promise<Access>
  /**
   * Another access token than one that Yoto's API refused (rule 4): the current one, or one that is fetched now.
   * @returns undefined where no other can be had, or where the refused one was itself fetched this way a short while ago: then the
   * token is not what is wrong. Never throws.
   */
  renew(refused: Pick<Access, 'accessToken'>): Promise<Access | undefined>
  /** Refreshes now; within 10 s of the last success that is the answer (rule 4). Throws as accessToken does. */
  refreshNow(): Promise<void>
  /** Keeps what a sign-in brought, in place of what was kept before (rule 9). `sent`: both clocks when its request left. `otherAccount`: another one than before. */
  signIn(tokens: IssuedTokens, sent: { wall: number; monotonic: number }): Promise<{ otherAccount: boolean }>
  /** Revokes at Yoto as far as possible, then removes what is stored. */
  signOut(): Promise<{ wasSignedIn: boolean; revoked: boolean }>
  /** To be awaited before anybody is told that there is no sign-in: another instance may just have brought one. Never throws. */
  seek(): Promise<void>
  snapshot(): Snapshot
  /** A look at the clock, and at the store when one is due; to be called every so often where there is background work. */
  tick(): Promise<void>
  /** When `tick` is to be called next, where nobody calls it every so often: milliseconds since 1970; undefined: there is no need. */
  nextDue(): number | undefined
  /** Begins no refresh any more; waits for `others`, which may bring a sign-in, and for what is under way (rule 11). */
  close(others?: Promise<unknown>): Promise<void>
}

/** Milliseconds: a token that was fetched because another had been refused is above suspicion for so long. */
const TRUSTED_AFTER_RENEWAL = 300_000

/** Keeps the TokenSet. The rules are those of docs/design.md. */
export function createKeeper(parts: KeeperParts): Keeper {
  const { config, lease, journal, clock, isUnattended = true } = parts
  const memory = createMemory((state) => parts.observe?.(state, turns.isTaken))
  const turns = createTurns({
    lease,
    removeLeftovers: parts.removeLeftovers,
    mustKeepLease: () => memory.state.unsaved !== undefined,
  })
  const moment: Moment = {
    get state() {
      return memory.state
    },
    get isClosing() {
      return turns.isClosing
    },
    clock,
    config,
  }
  const shared: Shared = { parts, memory, turns, moment }
  const look = createLook(shared)
  const save = createSave(shared, look)
  const refreshing = createRefresh(shared, look, save)
  const { refresh } = refreshing
  const debts = createDebts(shared, look)
  const { signIn, signOut } = createSignIn(shared, save)
  /** What `renew` has fetched last, and when by the monotonic clock. */
  let renewed: { accessToken: string; at: number } | undefined

  function accessOf(set: TokenSet | undefined): Access | undefined {
    if (!set) return undefined
    const { accessToken, expiresAt, scope } = set
    return { accessToken, expiresAt, timeLeft: timeLeft(set, clock), scope }
  }

  return {
    async start() {
      await turns.nextLong(async () => look.closeRecord(await look.takeOver())).catch(() => {})
      const { unusable } = snapshotOf(moment)
      if (unusable) look.noteProblem('unusable', unusable)
      await turns.nextLong(debts.probe)
      if (isUnattended && isRefreshDue(moment)) refresh().catch(() => {})
    },

    async accessToken(minTtl = 0) {
      await look.seek()
      const enough = enoughFor(moment, minTtl)
      if (enough !== undefined && inMemory(moment, enough)) {
        const ahead = isRefreshDue(moment) && refresh().catch(() => {})
        if (!isUnattended) await ahead
      } else if (!isJustIssued(moment) && isRefreshPossible(moment)) {
        await refresh().catch((error) => {
          if (!inMemory(moment, 1)) throw error
        })
      }
      // Rule 1: where no refresh can be had, a token that is still valid is handed out to its end.
      const access = accessOf(inMemory(moment, 1))
      if (!access) throw whyNone(moment)
      return access
    },

    async renew({ accessToken }) {
      const isCurrent = () => setOf(memory.state)?.accessToken === accessToken
      const isTrusted = renewed?.accessToken === accessToken && clock.monotonic() - renewed.at < TRUSTED_AFTER_RENEWAL
      if (isCurrent() && !isTrusted && isRefreshPossible(moment)) {
        await refresh().catch(() => {}) // the snapshot says why
        const set = setOf(memory.state)
        if (set && !isCurrent()) renewed = { accessToken: set.accessToken, at: clock.monotonic() }
      }
      return isCurrent() ? undefined : accessOf(inMemory(moment, 1))
    },

    async refreshNow() {
      if (memory.state.unsaved?.why) throw memory.state.unsaved.why
      await look.seek()
      if (isJustIssued(moment)) return
      const reason = whyNotNow(moment)
      if (reason) throw reason
      if (tokenOf(memory.state) && refusalOf(memory.state) === undefined) await refresh()
      const { state } = memory
      if (state.unsaved || refusalOf(state) !== undefined || !setOf(state)) throw whyNone(moment)
    },

    signIn,
    signOut,
    seek: look.seek,
    snapshot: () => snapshotOf(moment),

    async tick() {
      if (turns.isBusy) return refreshing.underway?.catch(() => {})
      if (isDue(moment, 'save')) await turns.nextWithLease(save.saveUnsaved).catch(() => {})
      else if (!memory.state.unsaved && clock.monotonic() >= look.nextAt()) await turns.next(look.look).catch(() => {})
      if (isDue(moment, 'probe')) await turns.next(debts.probe)
      if (isDue(moment, 'pay')) await turns.nextWithLease(debts.pay).catch(() => {})
      if (isDue(moment, 'refresh')) await refresh().catch(() => {})
    },

    nextDue: () => nextDue(moment, look.wakeAt()),

    async close(others) {
      turns.close()
      await others
      await turns.ended()
      if (memory.state.unsaved) await turns.nextWithLease(save.saveUnsaved).catch(() => {})
      if (memory.state.unsaved)
        journal.add('stop', 'not_saved', 'Stopped before the sign-in could be saved: it may have to be repeated.')
      await turns.release()
    },
  }
}
