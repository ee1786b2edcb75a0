import { type HeldLease, StorageError } from '../../storage'
import { fromStorage, type KeeperError } from '../errors'
import type { Look } from './look'
import type { Shared } from './parts'
import {
  REFRESH_TOKEN,
  readRecord,
  readToken,
  recordFor,
  type StoredToken,
  type TokenRecord,
  writeRecord,
} from './records'
import * as become from './state'
import { STORAGE_PAUSE } from './trouble'

export interface Debts {
  /** Notes in the store what could not be noted before, each as far as it still holds there. Under the lease. @throws StorageError */
  pay(held: HeldLease): Promise<void>
  /** Can the store be written at all? Within a turn. Never throws. */
  probe(): Promise<void>
}

/** What is owed to the store, and whether it takes it. */
export function createDebts({ parts, memory }: Shared, look: Look): Debts {
  const { store, clock, lease } = parts

  async function payOne(debt: become.Debt): Promise<void> {
    const stored = await readToken(store).catch(unlessStorage)
    const record = await readRecord(store)
    const isThere = (fingerprint: string) => stored !== 'no token' && stored?.fingerprint === fingerprint
    switch (debt.note) {
      case 'refusal':
        if (isThere(debt.refusal.fingerprint))
          await writeRecord(store, withRefusal(stored as StoredToken, record, debt.refusal))
        return
      case 'removal':
        // Without a fingerprint: whoever puts the file back is signed in again.
        if (!stored && record && !record.signed_out) {
          await writeRecord(store, { version: 1, signed_out: { at: new Date(clock.wall()).toISOString() } })
        }
        return
      case 'sign-out':
        if (!stored) await writeRecord(store, { version: 1, signed_out: debt.signedOut })
        return
      case 'removal by sign-out':
        if (isThere(debt.fingerprint) && record?.signed_out?.fingerprint === debt.fingerprint) {
          await store.remove(REFRESH_TOKEN)
        }
    }
  }

  return {
    async pay(held) {
      try {
        for (const debt of memory.state.debts) {
          await held.check()
          await payOne(debt)
          memory.learn(become.paid(memory.state, debt))
        }
      } catch (error) {
        memory.learn(become.couldNotPay(memory.state, clock.monotonic() + STORAGE_PAUSE))
        throw error
      }
    },

    async probe() {
      try {
        const held = await lease.tryAcquire()
        await held?.release()
        memory.learn(become.couldWrite(memory.state))
      } catch (error) {
        const { unwritable } = memory.state.store
        const why = unwritable?.why ?? look.noteProblem('unavailable', fromStorage(error) as KeeperError)
        memory.learn(become.couldNotWrite(memory.state, why, clock.monotonic()))
      }
    },
  }
}

/** The record of a token that Yoto has refused. */
export function withRefusal(
  stored: StoredToken,
  record: TokenRecord | undefined,
  refusal: NonNullable<TokenRecord['refusals']>[number],
): TokenRecord {
  const known = recordFor(stored, record)
  return { ...known, refusals: [...(known.refusals ?? []), refusal] }
}

/** What lies there is no token: nobody's debt is about it. */
function unlessStorage(error: unknown): 'no token' {
  if (error instanceof StorageError) throw error
  return 'no token'
}
