import { type HeldLease, isStorageError } from '../../storage'
import { fromStorage, type KeeperError } from '../errors'
import type { Look, Seen } from './look'
import type { Shared } from './parts'
import { REFRESH_TOKEN, recordOf, type StoredToken, writeRecord } from './records'
import * as become from './state'
import type { TokenSet } from './token-set'
import { STORAGE_PAUSE } from './trouble'
import { isLost } from './turn'

export interface Save {
  /** Saves what Yoto issued, then lets it be used. Where saving fails it is held in memory and tried again (rule 8). Under the lease. */
  keep(set: TokenSet, expected: string | null | undefined, held: HeldLease): Promise<void>
  /** Rule 8: used all the same, and to be saved later. */
  hold(set: TokenSet, expected: string | null | undefined, error: unknown): void
  /** Tries again to save what is held. Under the lease. */
  saveUnsaved(held: HeldLease): Promise<void>
}

/** Rules 5, 6 and 8: what Yoto issued is saved, then used; only over what it replaces; and held where it cannot be saved. */
export function createSave({ parts, memory }: Shared, look: Look): Save {
  const { store, journal, clock, yoto } = parts

  /** Rule 5: the refresh token, then the record; rule 6: only if the store still holds what was sent. */
  async function save(set: TokenSet, expected: string | null | undefined, held: HeldLease): Promise<StoredToken> {
    // A token that did not rotate keeps its bytes.
    const raw = expected?.trim() === set.refreshToken ? expected : set.refreshToken
    await held.check()
    await store.write(REFRESH_TOKEN, raw, expected)
    await held.check()
    await writeRecord(store, recordOf(set))
    return { raw, token: set.refreshToken, fingerprint: set.fingerprint }
  }

  async function keep(set: TokenSet, expected: string | null | undefined, held: HeldLease): Promise<void> {
    let stored: StoredToken
    try {
      stored = await save(set, expected, held)
    } catch (error) {
      if (isStorageError(error, 'conflict')) {
        memory.learn(become.yielded(memory.state))
        return settleConflict(set, held)
      }
      // Whoever has taken over may have refreshed as well: that is settled under the lease, before anything is used or said.
      if (isStorageError(error, 'lease_lost')) {
        memory.learn(become.leftOpen(memory.state, set, expected))
        throw error
      }
      return hold(set, expected, error)
    }
    if (memory.state.unsaved?.why) journal.add('storage', 'saved', 'The sign-in has been saved.')
    memory.learn(become.saved(memory.state, stored, set))
  }

  function hold(set: TokenSet, expected: string | null | undefined, error: unknown): void {
    const why = fromStorage(error) as KeeperError
    if (!memory.state.unsaved?.why) look.noteProblem('not_saved', why)
    const notBefore = clock.monotonic() + STORAGE_PAUSE
    memory.learn(become.held(memory.state, { set, expected, why, isUsed: true, notBefore }))
  }

  /** Rule 6: the token that was sent is no longer the stored one. What is stored counts; what came back is revoked and dropped. */
  async function settleConflict(set: TokenSet, held: HeldLease): Promise<void> {
    const seen = await look.takeOver()
    if (seen.lost || (!seen.stored && !seen.record)) return keep(set, null, held)
    if (!sharesFate(set, seen, !(await isLost(held)))) await yoto.revoke(set.refreshToken)
    look.closeRecord(seen)
    const what = seen.stored ? 'replaced' : 'removed'
    journal.add(
      'refresh',
      'dropped',
      `The stored token was ${what} during a refresh: what the refresh brought was dropped.`,
    )
  }

  return {
    keep,
    hold,
    async saveUnsaved(held) {
      const { unsaved } = memory.state
      if (unsaved) await keep(unsaved.set, unsaved.expected, held)
    },
  }
}

/**
 * Whether revoking `set` would end the stored sign-in as well: it is of the same family (another instance repeated our refresh), or
 * of the same account and client. Auth0 tenants of before 2021 revoke all refresh tokens of one user, client and audience together
 * ("Refresh Token Revocation Deletes Grant", Auth0: Revoke Refresh Tokens).
 */
export function sharesFate(set: TokenSet, { stored, record }: Seen, stillHeld = true): boolean {
  if (!stored || !record) return false
  const speaksOfStored = record.fingerprint === stored.fingerprint
  if (record.family === set.family && (speaksOfStored || !stillHeld)) return true
  return speaksOfStored && !!set.subject && record.subject === set.subject && record.client_id === set.clientId
}
