import { isStorageError } from '../../storage'
import { fromStorage, type KeeperError } from '../errors'
import type { Shared } from './parts'
import {
  aboutToken,
  isAbout,
  REFRESH_TOKEN,
  readRecord,
  readToken,
  recordFor,
  recordOf,
  type StoredToken,
  type TokenRecord,
  tokenSetOf,
  writeRecord,
} from './records'
import * as become from './state'
import { refusalOf, tokenOf } from './state'
import { fingerprintOf } from './token-set'
import { STORAGE_PAUSE } from './trouble'

/** What a reading of the store has found. */
export interface Seen {
  stored?: StoredToken
  record?: TokenRecord
  /** The store has lost what is held here: both records are gone, or a later rotation is (rule 10). */
  lost: boolean
}

export interface Look {
  /** Reads the store and takes over what it holds; within a turn. @throws KeeperError why it cannot be read */
  takeOver(): Promise<Seen>
  /** Rule 10: has somebody else changed what is stored? Within a turn. */
  look(): Promise<void>
  /** When the store is to be looked at next, by the monotonic clock. */
  nextAt(): number
  /** The same where each look has to be arranged for; undefined: there is no need. */
  wakeAt(): number | undefined
  /** To be awaited before anybody is told that there is no sign-in. Never throws. */
  seek(): Promise<void>
  /** Rule 10: puts back what the store has lost; under the lease. */
  saveAgain(): Promise<void>
  /** The token was removed from outside: the access token in its record is to go too. */
  closeRecord(seen: Seen): void
  noteProblem(outcome: string, error: KeeperError): KeeperError
}

/** Milliseconds between two looks at a store that could not be read, where each has to be arranged for. */
const UNREADABLE_PAUSE = 60_000

/** Reading the store: what it says becomes state, and nothing is written but what it has lost. */
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
    if (isLost(stored, record)) {
      memory.learn(become.foundLost(memory.state))
      return { stored, record, lost: true }
    }
    if (stored && record?.signed_out?.fingerprint === stored.fingerprint) {
      // A sign-out that was interrupted: it is for the lease's holder to end it.
      const { fingerprint } = stored
      stored = undefined
      memory.learn(become.owes(memory.state, { note: 'removal by sign-out', fingerprint }))
    }
    if (!stored) {
      memory.learn(become.foundNothing(memory.state, record?.signed_out?.at))
      return { record, lost: false }
    }
    const set = tokenSetOf(stored, record, config.clientId, clock)
    memory.learn(become.foundToken(memory.state, stored, set, verdictOn(stored, record)))
    return { stored, record, lost: false }
  }

  /** What is held here is later than what is stored: no clock tells that, but the count of rotations does. */
  function isLost(stored: StoredToken | undefined, record: TokenRecord | undefined): boolean {
    if (!stored && !record) return become.isHeld(memory.state)
    const set = tokenOf(memory.state)?.set
    if (!set || !stored || record?.fingerprint !== stored.fingerprint || record.family !== set.family) return false
    return record.rotation !== undefined && set.rotation !== undefined && record.rotation < set.rotation
  }

  function verdictOn({ fingerprint }: StoredToken, record: TokenRecord | undefined): become.Verdict {
    const unnoted = memory.state.debts.flatMap((debt) => (debt.note === 'refusal' ? [debt.refusal] : []))
    const refusal = [...unnoted, ...(record?.refusals ?? [])].find((one) => isAbout(one, fingerprint, config))
    if (refusal) return { is: 'refused', message: refusal.message }
    return { is: isAbout(record?.intent, fingerprint, config) ? 'in doubt' : 'good' }
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
    if (raw === before?.stored.raw && memory.state.kept.is !== 'unread' && !wasWrong) {
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
    if (before && seen.stored && !tokenOf(memory.state)?.set) {
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
    if (token?.verdict.is !== 'good') return
    const record = await readRecord(store)
    if (isAbout(record?.intent, token.stored.fingerprint, config)) memory.learn(become.cameIntoDoubt(memory.state))
  }

  async function hasRecord(raw: string): Promise<boolean> {
    return (await readRecord(store))?.fingerprint === fingerprintOf(raw.trim())
  }

  /** A look that has begun may have missed what was saved since: whoever comes later waits for the next one. */
  async function seek(): Promise<void> {
    const { state } = memory
    if ((become.isHeld(state) && refusalOf(state) === undefined) || turns.isBusy) return
    seeking ??= turns
      .next(async () => {
        seeking = undefined
        await look()
        if (sighted !== undefined) await look() // nobody is to be told that there is none while one lies there
      })
      .catch(() => {})
    await seeking
  }

  async function saveAgain(): Promise<void> {
    if (!tokenOf(memory.state)) return
    const seen = await takeOver()
    const token = tokenOf(memory.state)
    if (!token || !seen.lost) return
    try {
      const raw = token.stored.token
      await store.write(REFRESH_TOKEN, raw, seen.stored?.raw ?? null)
      await writeRecord(store, recordAgain(token))
      memory.learn(become.savedAgain(memory.state, { ...token.stored, raw }, clock.monotonic()))
      const what = seen.stored ? 'had lost the last renewal' : 'had been emptied'
      journal.add('storage', 'saved_again', `The store ${what}: the sign-in was saved again.`)
    } catch (error) {
      couldNotSaveAgain(error)
      throw error
    }
  }

  /** All that is known of it, what Yoto thinks of it included: a refused token is not to be sent again (rule 7). */
  function recordAgain({ stored, set, verdict }: become.KeptToken): TokenRecord {
    const record = set ? recordOf(set) : recordFor(stored, undefined)
    const about = aboutToken(stored.fingerprint, config, clock)
    if (verdict.is === 'refused') return { ...record, refusals: [{ ...about, message: verdict.message }] }
    return verdict.is === 'in doubt' ? { ...record, intent: about } : record
  }

  function couldNotSaveAgain(error: unknown): void {
    if (memory.state.store.emptied || isStorageError(error, 'conflict')) return // a conflict: looked at again
    memory.learn(become.couldNotSaveAgain(memory.state, noteProblem('not_saved', fromStorage(error) as KeeperError)))
  }

  function closeRecord({ stored, record }: Seen): void {
    if (stored || !record || record.signed_out) return
    memory.learn(become.owes(memory.state, { note: 'removal' }))
  }

  function noteProblem(outcome: string, error: KeeperError): KeeperError {
    journal.add('storage', outcome, [error.message, error.hint].filter(Boolean).join(' '))
    return error
  }

  return {
    takeOver,
    look,
    /** Where the last look has left something open, the next one follows soon. */
    nextAt() {
      const isOpen = whatIsWrong() || memory.state.store.emptied || sighted !== undefined
      return lookedAt + (isOpen ? Math.min(watchInterval, STORAGE_PAUSE) : watchInterval)
    },
    wakeAt() {
      const { unreadable, emptied } = memory.state.store
      if (unreadable) return lookedAt + UNREADABLE_PAUSE
      return emptied && lookedAt + STORAGE_PAUSE
    },
    seek,
    saveAgain,
    closeRecord,
    noteProblem,
  }
}
