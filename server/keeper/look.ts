import { fromStorage, type KeeperError } from '../errors'
import type { KeeperParts, Shared } from './parts'
import {
  REFRESH_TOKEN,
  readRecord,
  readToken,
  recordOf,
  type StoredToken,
  type TokenRecord,
  tokenSetOf,
  writeRecord,
} from './records'
import * as become from './state'
import { isInDoubt, refusalOf, setOf, tokenOf } from './state'
import { fingerprintOf } from './token-set'
import { STORAGE_PAUSE } from './trouble'

/** What a reading of the store has found. */
export interface Seen {
  stored?: StoredToken
  record?: TokenRecord
  /** Both of our records are gone while a sign-in is held: the store was lost, not the sign-in (rule 10). */
  lost: boolean
}

export interface Look {
  /** Reads the store and takes over what it holds; within a turn. @throws KeeperError why it cannot be read */
  takeOver(): Promise<Seen>
  /** Rule 10: has somebody else changed what is stored? Within a turn. */
  look(): Promise<void>
  isDue(): boolean
  /** To be awaited before anybody is told that there is no sign-in. Never throws. */
  seek(): Promise<void>
  /** Rule 10: puts back what an emptied store has lost; under the lease. */
  saveAgain(): Promise<void>
  /** The token was removed from outside: the access token in its record is to go too. */
  closeRecord(seen: Seen): void
  /** Under the lease: what is owed to the store, as far as it can be had now. */
  payDebt(): Promise<void>
  /** Can the store be written at all? Within a turn. */
  probe(): Promise<void>
  noteProblem(outcome: string, error: KeeperError): KeeperError
}

/** Reading the store: what it says becomes state. */
export function createLook({ parts, memory, turns }: Shared): Look {
  const { config, store, journal, clock, watchInterval } = parts
  /** A token that appeared in the store without its record; another instance may be about to write that. */
  let sighted: string | undefined
  /** When the store was last looked at, by the monotonic clock. */
  let lookedAt = clock.monotonic()
  let seeking: Promise<void> | undefined

  async function takeOver(): Promise<Seen> {
    let stored: StoredToken | undefined
    let record: TokenRecord | undefined
    try {
      stored = await readToken(store)
      record = await readRecord(store)
    } catch (error) {
      throw couldNotRead(error)
    }
    memory.learn(become.foundAgain(memory.state, clock.monotonic()))
    if (!stored && !record && become.isHeld(memory.state)) {
      memory.learn(become.foundEmptied(memory.state))
      return { lost: true }
    }
    if (stored && record?.signed_out?.fingerprint === stored.fingerprint) {
      await store.remove(REFRESH_TOKEN) // a sign-out that was interrupted
      stored = undefined
    }
    if (!stored) {
      memory.learn(become.foundNothing(memory.state))
      return { record, lost: false }
    }
    const verdict = verdictOn(stored, record)
    memory.learn(become.foundToken(memory.state, stored, tokenSetOf(stored, record, config.clientId, clock), verdict))
    return { stored, record, lost: false }
  }

  function verdictOn({ fingerprint }: StoredToken, record: TokenRecord | undefined): become.Verdict {
    const refusal = memory.state.debt
      ? refusalOf(memory.state)
      : record?.refusals?.find((one) => isAbout(config, one, fingerprint))?.message
    if (refusal !== undefined) return { is: 'refused', message: refusal }
    return { is: isAbout(config, record?.intent, fingerprint) ? 'in doubt' : 'good' }
  }

  /** What cannot be read may still be there; what is no token has replaced the one we had. */
  function couldNotRead(error: unknown): KeeperError {
    const why = fromStorage(error) as KeeperError
    const isUnusable = why.code === 'needs_sign_in'
    memory.learn(isUnusable ? become.foundUnusable(memory.state, why) : become.couldNotRead(memory.state, why))
    return why
  }

  async function look(): Promise<void> {
    lookedAt = clock.monotonic()
    const before = tokenOf(memory.state)
    const wasWrong = whatIsWrong()
    let raw: string | undefined
    try {
      raw = (await readToken(store))?.raw
    } catch (error) {
      lookedAt = clock.monotonic() // it may have taken long to find out
      const why = couldNotRead(error)
      if (why.message !== wasWrong?.message) noteProblem('unusable', why)
      return
    }
    const { kept } = memory.state
    if (raw === tokenOf(memory.state)?.stored.raw && kept.is !== 'unread' && !wasWrong) {
      memory.learn(become.isUnchanged(memory.state))
      sighted = undefined
      await lookForIntent()
      return
    }
    if (raw !== undefined && raw !== sighted && !(await hasRecord(raw))) {
      sighted = raw // once more, at the next look
      return
    }
    sighted = undefined
    const seen = await takeOver()
    if (seen.lost) {
      return turns.withLease(saveAgain).catch((error) => couldNotSaveAgain(error))
    }
    if (before && !seen.stored) journal.add('sign_out', 'elsewhere', 'The stored token was removed: signed out.')
    closeRecord(seen)
    if (before && seen.stored && !setOf(memory.state)) {
      journal.add('sign_in', 'replaced', 'Another token was put in the place of the stored one.')
    }
  }

  function whatIsWrong(): KeeperError | undefined {
    const { kept, store } = memory.state
    return store.unreadable ?? (kept.is === 'unusable' ? kept.why : undefined)
  }

  /** Another instance may have died over a refresh: while a leeway may be open, it is for those that live to repeat it (rule 5). */
  async function lookForIntent(): Promise<void> {
    const token = tokenOf(memory.state)
    if (!token || isInDoubt(memory.state)) return
    const record = await readRecord(store)
    if (!isAbout(config, record?.intent, token.stored.fingerprint)) return
    if (refusalOf(memory.state) === undefined) memory.learn(become.cameIntoDoubt(memory.state))
  }

  async function hasRecord(raw: string): Promise<boolean> {
    return (await readRecord(store))?.fingerprint === fingerprintOf(raw.trim())
  }

  /** A look that has begun may have missed what was saved since: whoever comes later waits for the next one. */
  async function seek(): Promise<void> {
    const { state } = memory
    if ((become.isHeld(state) && refusalOf(state) === undefined) || turns.isBusy) return
    seeking ??= turns
      .next(() => {
        seeking = undefined
        return look()
      })
      .catch(() => {})
    await seeking
  }

  async function saveAgain(): Promise<void> {
    const token = tokenOf(memory.state)
    if (!token || !(await takeOver()).lost) return
    try {
      const raw = token.stored.token
      await store.write(REFRESH_TOKEN, raw, null)
      const set = setOf(memory.state)
      if (set) await writeRecord(store, recordOf(set))
      memory.learn(become.savedAgain(memory.state, { ...token.stored, raw }))
      journal.add('storage', 'saved_again', 'The store had been emptied: the sign-in was saved again.')
    } catch (error) {
      couldNotSaveAgain(error)
      throw error
    }
  }

  function couldNotSaveAgain(error: unknown): void {
    if (memory.state.store.emptied) return
    memory.learn(become.couldNotSaveAgain(memory.state, noteProblem('not_saved', fromStorage(error) as KeeperError)))
  }

  function closeRecord({ stored, record }: Seen): void {
    if (stored || !record || record.signed_out) return
    memory.learn(become.owes(memory.state, { note: 'removal' }))
  }

  async function payDebt(): Promise<void> {
    const { debt } = memory.state
    if (debt?.note === 'removal') {
      // Without a fingerprint: whoever puts the file back is signed in again.
      if (!(await store.read(REFRESH_TOKEN))) {
        await writeRecord(store, { version: 1, signed_out: { at: new Date(clock.wall()).toISOString() } })
      }
    } else if (debt) await writeRecord(store, debt.record)
    memory.learn(become.owes(memory.state, undefined))
  }

  async function probe(): Promise<void> {
    try {
      const held = await parts.lease.tryAcquire()
      await held?.release()
      memory.learn(become.couldWrite(memory.state))
    } catch (error) {
      if (memory.state.store.unwritable) return
      const why = noteProblem('unavailable', fromStorage(error) as KeeperError)
      memory.learn(become.couldNotWrite(memory.state, why))
    }
  }

  function noteProblem(outcome: string, error: KeeperError): KeeperError {
    journal.add('storage', outcome, [error.message, error.hint].filter(Boolean).join(' '))
    return error
  }

  return {
    takeOver,
    look,
    /** Where the last look has left something open, the next one follows soon. */
    isDue() {
      const isOpen = whatIsWrong() || memory.state.store.emptied || sighted !== undefined
      return clock.monotonic() - lookedAt >= (isOpen ? Math.min(watchInterval, STORAGE_PAUSE) : watchInterval)
    },
    seek,
    saveAgain,
    closeRecord,
    payDebt,
    probe,
    noteProblem,
  }
}

/** Whether something was noted of this token, shown by this client to this server. */
export function isAbout(
  { clientId, authUrl }: KeeperParts['config'],
  what: TokenRecord['intent'],
  fingerprint: string,
): boolean {
  return what?.fingerprint === fingerprint && what.client_id === clientId && what.server === authUrl
}
