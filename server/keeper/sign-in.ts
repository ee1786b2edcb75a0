import { StorageError } from '../../storage'
import type { IssuedTokens } from '../yoto/outcome'
import type { Shared } from './parts'
import { REFRESH_TOKEN, readRecord, readToken, type TokenRecord, writeRecord } from './records'
import { type Save, sharesFate } from './save'
import * as become from './state'
import { type Replaceable, refusalOf, setOf, tokenOf } from './state'
import { fingerprintOf, tokenSetFrom } from './token-set'
import { STORAGE_PAUSE } from './trouble'

export interface SignIn {
  signIn(tokens: IssuedTokens, sent: { wall: number; monotonic: number }): Promise<{ otherAccount: boolean }>
  signOut(): Promise<{ wasSignedIn: boolean; revoked: boolean }>
}

/** What a person begins: a sign-in in place of another, or the end of one. */
export function createSignIn({ parts, memory, turns }: Shared, save: Save): SignIn {
  const { config, store, clock, journal, yoto, isUnattended = true } = parts

  /** The refresh token that is the sign-in now, as far as it can be known. */
  async function present(): Promise<string | undefined> {
    const stored = async () => (await readToken(store).catch(() => undefined))?.token
    return memory.state.unsaved?.set.refreshToken ?? (await stored())
  }

  /** What the store holds, as it was seen last: for when it cannot be asked. */
  function lastSeen(): Replaceable {
    const { kept } = memory.state
    if (kept.is === 'token') return { by: 'sign-in', raw: kept.stored.raw }
    if (kept.is === 'nothing') return { by: 'sign-in', raw: null, signedOutAt: kept.signedOutAt }
    return { by: 'sign-in', raw: undefined }
  }

  async function seenNow(record: TokenRecord | undefined): Promise<Replaceable> {
    try {
      return { by: 'sign-in', raw: await store.read(REFRESH_TOKEN), signedOutAt: record?.signed_out?.at }
    } catch {
      return lastSeen()
    }
  }

  return {
    async signIn(tokens, sent) {
      const set = tokenSetFrom(tokens, sent, { refreshToken: '', clientId: config.clientId ?? '' })
      let before = setOf(memory.state)?.subject
      let revoking: Promise<unknown> | undefined
      const done = turns.nextWithLease(
        async (held) => {
          const old = await present()
          const record = await readRecord(store).catch(() => undefined)
          before ??= record?.subject
          const wasRefused = refusalOf(memory.state) !== undefined
          await save.keep(set, await seenNow(record), held)
          // Rule 9, but for a family that is dead already or would not die alone. A new sign-in that is not saved yet needs the old one.
          if (!old || old === set.refreshToken || wasRefused || memory.state.unsaved) return
          const stored = { raw: old, token: old, fingerprint: fingerprintOf(old) }
          if (!sharesFate(set, { stored, record, lost: false })) revoking = yoto.revoke(old)
        },
        { failed: (error) => save.hold(set, lastSeen(), error) }, // the code is spent all the same
      )
      await done.catch((error) => {
        if (!(error instanceof StorageError)) throw error
      })
      if (!isUnattended) await revoking
      return { otherAccount: before !== undefined && set.subject !== undefined && before !== set.subject }
    },

    async signOut() {
      const done = await turns.nextWithLease(async (held) => {
        const kept = (await present()) ?? tokenOf(memory.state)?.stored.token
        const revoked = kept !== undefined && config.clientId !== undefined && (await yoto.revoke(kept))
        await held.check()
        const signedOut = { at: new Date(clock.wall()).toISOString(), fingerprint: kept && fingerprintOf(kept) }
        // The record tells other instances a sign-out from a lost store, so it goes first; a full disk takes it afterwards.
        const note = () => writeRecord(store, { version: 1, signed_out: signedOut })
        const written = () =>
          note().then(
            () => true,
            () => false,
          )
        const wasWritten = await written()
        await store.remove(REFRESH_TOKEN)
        memory.learn(become.signedOut(memory.state, signedOut.at))
        if (!wasWritten && !(await written())) {
          memory.learn(become.owes(memory.state, { note: 'sign-out', signedOut }, clock.monotonic() + STORAGE_PAUSE))
        }
        if (kept) journal.add('sign_out', 'ok', revoked ? 'Signed out.' : 'Signed out here; Yoto could not be told.')
        return { wasSignedIn: kept !== undefined, revoked }
      })
      return done ?? { wasSignedIn: false, revoked: false }
    },
  }
}
