import { StorageError } from '../../storage'
import type { IssuedTokens } from '../yoto/outcome'
import type { Look } from './look'
import type { Shared } from './parts'
import { REFRESH_TOKEN, readRecord, readToken, type TokenRecord, writeRecord } from './records'
import { type Save, sharesFate } from './save'
import * as become from './state'
import { refusalOf, setOf, tokenOf } from './state'
import { fingerprintOf, tokenSetFrom } from './token-set'

export interface SignIn {
  signIn(tokens: IssuedTokens, sent: { wall: number; monotonic: number }): Promise<{ otherAccount: boolean }>
  signOut(): Promise<{ wasSignedIn: boolean; revoked: boolean }>
}

/** What a person begins: a sign-in in place of another, or the end of one. */
export function createSignIn({ parts, memory, turns }: Shared, look: Look, save: Save): SignIn {
  const { config, store, journal, clock, yoto, isUnattended = true } = parts

  /** The refresh token that is the sign-in now, as far as it can be known. */
  async function present(): Promise<string | undefined> {
    const stored = async () => (await readToken(store).catch(() => undefined))?.token
    return memory.state.unsaved?.set.refreshToken ?? (await stored())
  }

  return {
    async signIn(tokens, sent) {
      const set = tokenSetFrom(tokens, sent, { refreshToken: '', clientId: config.clientId ?? '' })
      let before = setOf(memory.state)?.subject
      let revoking: Promise<unknown> | undefined
      const done = turns.nextWithLease(async (held) => {
        const old = await present()
        const oldRecord = await readRecord(store).catch(() => undefined)
        before ??= oldRecord?.subject
        const wasRefused = refusalOf(memory.state) !== undefined
        await save.keep(set, undefined, held)
        // Rule 9, but for a family that is dead already or would not die alone. A new sign-in that is not saved yet needs the old one.
        if (!old || old === set.refreshToken || wasRefused || memory.state.unsaved) return
        const stored = { raw: old, token: old, fingerprint: fingerprintOf(old) }
        if (!sharesFate(set, { stored, record: oldRecord, lost: false })) revoking = yoto.revoke(old)
      })
      await done.catch((error) => {
        if (!(error instanceof StorageError)) throw error
        save.hold(set, undefined, error) // the lease cannot be had; the code is spent all the same
      })
      if (!isUnattended) await revoking
      return { otherAccount: before !== undefined && set.subject !== undefined && before !== set.subject }
    },

    async signOut() {
      const done = await turns.nextWithLease(async (held) => {
        const kept = (await present()) ?? tokenOf(memory.state)?.stored.token
        const revoked = kept !== undefined && config.clientId !== undefined && (await yoto.revoke(kept))
        await held.check()
        const record: TokenRecord = {
          version: 1,
          signed_out: { at: new Date(clock.wall()).toISOString(), fingerprint: kept && fingerprintOf(kept) },
        }
        // The record tells other instances a sign-out from a lost store, so it goes first; a full disk takes it afterwards.
        const written = await writeRecord(store, record).then(
          () => true,
          () => false,
        )
        await store.remove(REFRESH_TOKEN)
        memory.learn(become.signedOut(memory.state))
        if (!written) memory.learn(become.owes(memory.state, { note: 'sign-out', record }))
        await look.payDebt().catch(() => {})
        if (kept) journal.add('sign_out', 'ok', revoked ? 'Signed out.' : 'Signed out here; Yoto could not be told.')
        return { wasSignedIn: kept !== undefined, revoked }
      })
      return done ?? { wasSignedIn: false, revoked: false }
    },
  }
}
