import { type HeldLease, isStorageError, type StorageError } from '../../storage'
import { fromStorage, KeeperError } from '../errors'
import { withRefusal } from './debts'
import type { Look } from './look'
import { isHoldersTurn, isNews, isTimeToRefresh } from './next'
import type { Shared } from './parts'
import { aboutToken, REFRESH_TOKEN, recordFor, type StoredToken, writeRecord } from './records'
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
    const unless = async () => {
      await look.takeOver()
      return !tokenOf(memory.state) || isNews(moment, named)
    }
    const failed = (error: StorageError) => {
      const failure = fromStorage(error) as KeeperError
      inTrouble({ kind: 'storage', error: failure, pause: STORAGE_PAUSE, told: false })
    }
    const done = turns.nextWithLease((held) => refreshUnderLease(held, named, forIntent), { unless, failed })
    await done.catch((error) => {
      throw fromStorage(error)
    })
  }

  async function refreshUnderLease(held: HeldLease, named: TokenSet | undefined, forIntent = false): Promise<void> {
    if (memory.state.unsaved) return save.saveUnsaved(held)
    if (turns.isClosing) return
    const seen = await look.takeOver()
    if (seen.lost) await look.saveAgain()
    if (isHoldersTurn(moment)) return
    if (forIntent && !isInDoubt(memory.state)) return
    const stored = tokenOf(memory.state)?.stored
    if (!stored || !config.clientId || refusalOf(memory.state) !== undefined || isNews(moment, named)) return

    const mayHaveRotated = isInDoubt(memory.state)
    const record = recordFor(stored, seen.record)
    if (!(await isReplaceable(stored))) return refreshUnderLease(held, named)
    await held.check() // or a record that is old by now would come over a newer one
    await writeRecord(store, { ...record, intent: aboutToken(stored.fingerprint, config, clock) })
    const { outcome, sent, lostOne } = await send(stored.token, held)

    if (outcome.meaning === 'tokens') {
      const { family, rotation } = record
      const before = { refreshToken: stored.token, clientId: config.clientId, family, rotation }
      const set = tokenSetFrom(outcome.tokens, sent, before)
      await save.keep(set, { by: 'refresh', raw: stored.raw }, held)
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
      const refusal = { ...aboutToken(stored.fingerprint, config, clock), message: outcome.message }
      // Durable before it is told (rule 5): whoever has heard that the sign-in is over is not to be told otherwise after a crash.
      const written = await writeRecord(store, withRefusal(stored, record, refusal)).then(
        () => true,
        () => false,
      )
      const payAt = clock.monotonic() + STORAGE_PAUSE
      if (!written) memory.learn(become.owes(memory.state, { note: 'refusal', refusal }, payAt))
      memory.learn(become.wasRefused(memory.state, outcome.message))
      journal.add('refresh', 'refused', `${outcome.message} The sign-in is over.`)
      return
    }
    if (outcome.meaning === 'unknown' || lostOne || mayHaveRotated) memory.learn(become.cameIntoDoubt(memory.state))
    else await writeRecord(store, record).catch(() => {})
    journal.add('refresh', outcome.meaning, outcome.message)
    throw inTrouble(troubleOf(outcome, become.failuresOf(memory.state), random))
  }

  /**
   * What must be possible after the send is tried before it (rule 5): the token is replaced by itself, which finds out the file that
   * cannot be replaced while nothing is lost.
   * @returns false: another one has taken its place meanwhile
   * @throws StorageError why it cannot be replaced
   */
  async function isReplaceable({ raw }: StoredToken): Promise<boolean> {
    return store.write(REFRESH_TOKEN, raw, raw).then(
      () => true,
      (error) => {
        if (isStorageError(error, 'conflict')) return false
        throw error
      },
    )
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
    memory.learn(become.gotIntoTrouble(memory.state, trouble, clock.monotonic()))
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
