import { type HeldLease, isStorageError } from '../../storage'
import { fromStorage, type KeeperError } from '../errors'
import type { Look, Seen } from './look'
import type { Shared } from './parts'
import { REFRESH_TOKEN, recordOf, type StoredToken, writeRecord } from './records'
import type { Replaceable } from './state'
import * as become from './state'
import type { TokenSet } from './token-set'
import { STORAGE_PAUSE } from './trouble'
import { isLost } from './turn'

export interface Save {
  /** Saves what Yoto has just issued, then lets it be used. Where saving fails it is held in memory (rule 8). Under the lease. */
  keep(set: TokenSet, replaces: Replaceable, held: HeldLease): Promise<void>
  /** Rule 8: used all the same, and to be saved later. Within a turn. */
  hold(set: TokenSet, replaces: Replaceable, error: unknown): void
  /** Tries again to save what is held, unless something has been done since. Under the lease. */
  saveUnsaved(held: HeldLease): Promise<void>
}

/** Rules 5, 6 and 8: what Yoto issued is saved, then used; only over what it replaces; and held where it cannot be saved. */
export function createSave({ parts, memory }: Shared, look: Look): Save {
  const { store, journal, clock, yoto } = parts

  /** Rule 5: the refresh token, then the record; rule 6: only if the store still holds `expected`. */
  async function save(set: TokenSet, expected: string | null, held: HeldLease): Promise<StoredToken> {
    // A token that did not rotate keeps its bytes.
    const raw = expected?.trim() === set.refreshToken ? expected : set.refreshToken
    await held.check()
    await store.write(REFRESH_TOKEN, raw, expected)
    await held.check()
    await writeRecord(store, recordOf(set))
    return { raw, token: set.refreshToken, fingerprint: set.fingerprint }
  }

  /** @param settle what to do where the store holds something else by now */
  async function saveOver(
    expected: string | null,
    set: TokenSet,
    replaces: Replaceable,
    held: HeldLease,
    settle: () => Promise<void>,
  ): Promise<void> {
    let stored: StoredToken
    try {
      stored = await save(set, expected, held)
    } catch (error) {
      if (isStorageError(error, 'conflict')) return settle()
      // Whoever has taken over may have refreshed as well: that is settled under the lease, before anything is used or said.
      if (isStorageError(error, 'lease_lost')) {
        memory.learn(become.leftOpen(memory.state, set, replaces))
        throw error
      }
      return hold(set, replaces, error)
    }
    if (memory.state.unsaved?.why) journal.add('storage', 'saved', 'The sign-in has been saved.')
    memory.learn(become.saved(memory.state, stored, set))
  }

  function hold(set: TokenSet, replaces: Replaceable, error: unknown): void {
    const why = fromStorage(error) as KeeperError
    if (!memory.state.unsaved?.why) look.noteProblem('not_saved', why)
    const notBefore = clock.monotonic() + STORAGE_PAUSE
    memory.learn(become.held(memory.state, { set, replaces, why, isUsed: true, notBefore }))
  }

  /** Rule 6: what is stored counts, if it came after what `set` replaces; then `set` is revoked and dropped. */
  async function settle(set: TokenSet, replaces: Replaceable, held: HeldLease): Promise<void> {
    let seen: Seen | 'no token'
    try {
      seen = await look.takeOver()
    } catch (error) {
      if ((error as KeeperError).code !== 'needs_sign_in') return hold(set, replaces, error)
      seen = 'no token'
    }
    const expected = seen === 'no token' ? await store.read(REFRESH_TOKEN) : (seen.stored?.raw ?? null)
    const mayReplace =
      seen === 'no token' ? replaces.raw === undefined || replaces.raw === expected : isBefore(seen, set, replaces)
    if (mayReplace) return saveOver(expected, set, replaces, held, () => settle(set, replaces, held))

    if (seen === 'no token' || !sharesFate(set, seen, !(await isLost(held)))) await yoto.revoke(set.refreshToken)
    memory.learn(become.yielded(memory.state))
    if (seen === 'no token') return noteDropped(replaces, 'replaced')
    look.closeRecord(seen)
    if (seen.record?.family !== set.family) noteDropped(replaces, seen.stored ? 'replaced' : 'removed')
  }

  function noteDropped({ by }: Replaceable, what: 'replaced' | 'removed'): void {
    if (by === 'refresh') {
      const message = `The stored token was ${what} during a refresh: what the refresh brought was dropped.`
      journal.add('refresh', 'dropped', message)
    } else {
      const message = `The stored token was ${what} before the sign-in could be saved: the sign-in was dropped.`
      journal.add('sign_in', 'dropped', message)
    }
  }

  return {
    async keep(set, replaces, held) {
      const { raw } = replaces
      if (raw === undefined) return settle(set, replaces, held)
      await saveOver(raw, set, replaces, held, () => settle(set, replaces, held))
    },
    hold,
    async saveUnsaved(held) {
      const { unsaved } = memory.state
      if (unsaved) await settle(unsaved.set, unsaved.replaces, held)
    },
  }
}

/**
 * Whether what is stored is what `set` replaces, or was there before it. A write that was reported failed may have arrived all the same.
 */
function isBefore({ stored, record, lost }: Seen, set: TokenSet, { by, raw, signedOutAt }: Replaceable): boolean {
  if (lost || (!stored && !record)) return true
  if (stored?.token === set.refreshToken) return true
  // By hand, other white space may have come around it.
  const isAsSeen = stored ? stored.token === raw?.trim() : raw === null && record?.signed_out?.at === signedOutAt
  if (isAsSeen || by === 'refresh') return isAsSeen
  // Somebody else was at it, and it was not seen whether before or after the sign-in: the records' own times are what there is to go by.
  const at = stored ? record?.fingerprint === stored.fingerprint && record.issued_at : record?.signed_out?.at
  return at ? Date.parse(at) <= set.issuedAt : raw === undefined
}

/**
 * Whether revoking `set` would end the stored sign-in as well: it is of the same family (another instance repeated our refresh), or
 * of the same account and client. Auth0 tenants of before 2021 revoke all refresh tokens of one user, client and audience together
 * ("Refresh Token Revocation Deletes Grant", Auth0: Revoke Refresh Tokens). Where it is not known whose the stored one is, nothing is
 * revoked: a family that nobody uses does no harm.
 */
export function sharesFate(set: TokenSet, { stored, record }: Seen, stillHeld = true): boolean {
  if (!stored) return false
  const isKnown = record?.fingerprint === stored.fingerprint
  if (record?.family === set.family && (isKnown || !stillHeld)) return true
  if (!set.subject) return false // no JWT: nothing could ever be known
  if (!isKnown || record.subject === undefined) return true
  return record.subject === set.subject && record.client_id === set.clientId
}
