import { type HeldLease, StorageError } from '../../storage'
import { fromStorage, KeeperError } from '../errors'
import type { Look } from './look'
import { isNews, isTimeToRefresh } from './next'
import type { Shared } from './parts'
import { type StoredToken, type TokenRecord, writeRecord } from './records'
import type { Save } from './save'
import * as become from './state'
import { isInDoubt, refusalOf, setOf, tokenOf } from './state'
import { type TokenSet, tokenSetFrom } from './token-set'
import { STORAGE_PAUSE, type Trouble, troubleOf } from './trouble'

export interface Refresh {
  /**
   * Single-flight; the access token in memory is the one that ran out or failed (rule 4).
   * @throws KeeperError `storage_unavailable`, `yoto_*`
   */
  refresh(): Promise<void>
  /** The refresh under way. */
  readonly underway: Promise<void> | undefined
}

/** Rules 3 to 7. */
export function createRefresh({ parts, memory, turns, moment }: Shared, look: Look, save: Save): Refresh {
  const { config, store, journal, clock, yoto, random = Math.random } = parts
  let underway: Promise<void> | undefined

  async function refreshOnce(): Promise<void> {
    if (turns.isClosing) {
      throw new KeeperError('yoto_unreachable', 'The service is shutting down.', { retryAfter: 5_000 })
    }
    if (memory.state.unsaved) return // rule 8: no second rotation before the first is saved
    const named = setOf(memory.state)
    const forIntent = isInDoubt(memory.state) && !memory.state.trouble && !isTimeToRefresh(moment)
    const answered = async () => {
      await look.takeOver()
      return !tokenOf(memory.state) || isNews(moment, named)
    }
    try {
      await turns.nextWithLease((held) => refreshUnderLease(held, named, forIntent), answered)
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      const failure = fromStorage(error) as KeeperError
      throw inTrouble({ kind: 'storage', error: failure, pause: STORAGE_PAUSE, told: false })
    }
  }

  async function refreshUnderLease(held: HeldLease, named: TokenSet | undefined, forIntent = false): Promise<void> {
    if (memory.state.unsaved) return save.saveUnsaved(held)
    if (turns.isClosing) return
    const seen = await look.takeOver()
    if (seen.lost) await look.saveAgain()
    if (forIntent && !isInDoubt(memory.state)) return
    const stored = tokenOf(memory.state)?.stored
    if (!stored || !config.clientId || refusalOf(memory.state) !== undefined || isNews(moment, named)) return

    const mayHaveRotated = isInDoubt(memory.state)
    const record = recordFor(stored, seen.record)
    await writeRecord(store, { ...record, intent: aboutToken(stored.fingerprint) })
    const { outcome, sent, lostOne } = await send(stored.token, held)

    if (outcome.meaning === 'tokens') {
      const before = { refreshToken: stored.token, clientId: config.clientId, family: record.family }
      const set = tokenSetFrom(outcome.tokens, sent, before)
      await save.keep(set, stored.raw, held)
      if (setOf(memory.state) === set)
        journal.add('refresh', 'ok', `Refreshed; valid until ${new Date(set.expiresAt).toISOString()}.`)
      else if (tokenOf(memory.state) && !isNews(moment, named)) await refreshUnderLease(held, named)
      return
    }
    if (outcome.meaning === 'refused') {
      await look.takeOver()
      const token = tokenOf(memory.state)
      if (!token) return // signed out meanwhile
      if (token.stored.fingerprint !== stored.fingerprint) return refreshUnderLease(held, named)
      memory.learn(become.wasRefused(memory.state, outcome.message))
      journal.add('refresh', 'refused', `${outcome.message} The sign-in is over.`)
      const refusals = [...(record.refusals ?? []), { ...aboutToken(stored.fingerprint), message: outcome.message }]
      memory.learn(become.owes(memory.state, { note: 'refusal', record: { ...record, refusals } }))
      await look.payDebt().catch(() => {})
      return
    }
    if (outcome.meaning === 'unknown' || lostOne || mayHaveRotated) memory.learn(become.cameIntoDoubt(memory.state))
    else await writeRecord(store, record).catch(() => {})
    journal.add('refresh', outcome.meaning, outcome.message)
    const { failures } = memory.state
    memory.learn(become.failed(memory.state))
    throw inTrouble(troubleOf(outcome, failures, random))
  }

  /** What is known about a token; where its record is about another, that is nothing. */
  function recordFor({ fingerprint }: StoredToken, record: TokenRecord | undefined): TokenRecord {
    if (record?.fingerprint === fingerprint)
      return { ...record, intent: undefined, family: record.family ?? fingerprint }
    // After an intent the last rotation got no further than its first write; else the token was put there by hand.
    return { version: 1, fingerprint, family: (record?.intent && record.family) ?? fingerprint }
  }

  function aboutToken(fingerprint: string) {
    return {
      fingerprint,
      client_id: config.clientId ?? '',
      server: config.authUrl,
      at: new Date(clock.wall()).toISOString(),
    }
  }

  /** Sends once, and after a lost answer once more, as a reuse leeway may be open (rule 7). */
  async function send(token: string, held: HeldLease) {
    for (let lostOne = false; ; lostOne = true) {
      await held.check()
      const sent = { wall: clock.wall(), monotonic: clock.monotonic() }
      const outcome = await yoto.refresh(token)
      if (outcome.meaning !== 'unknown' || lostOne) return { outcome, sent, lostOne }
      journal.add('refresh', 'unknown', `${outcome.message} Trying again at once.`)
    }
  }

  function inTrouble(trouble: Trouble): KeeperError {
    memory.learn(become.gotIntoTrouble(memory.state, { ...trouble, since: clock.monotonic() }))
    return trouble.error
  }

  return {
    refresh() {
      underway ??= refreshOnce().finally(() => {
        underway = undefined
      })
      return underway
    },
    get underway() {
      return underway
    },
  }
}
