import { type HeldLease, isStorageError, type Lease, StorageError, type TokenStore } from '../../storage'
import type { Config } from '../config'
import { fromStorage, KeeperError } from '../errors'
import type { IssuedTokens } from '../yoto/outcome'
import type { Yoto } from '../yoto/yoto'
import { type Clock, wallTimeOf } from './clock'
import type { Journal } from './journal'
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
import { fingerprintOf, lifetime, margin, refreshAheadAt, type TokenSet, timeLeft, tokenSetFrom } from './token-set'
import { STORAGE_PAUSE, type Trouble, troubleOf } from './trouble'

export interface KeeperParts {
  config: Config
  store: TokenStore
  lease: Lease
  journal: Journal
  clock: Clock
  yoto: Yoto
  /** From 0 to 1, as Math.random. */
  random?(): number
  /** Milliseconds between two looks at the store while all is well. */
  watchInterval: number
  /** False: nothing runs between requests. What is begun is waited for then. */
  isUnattended?: boolean
  /** Removes what a crash left behind; called under the lease. */
  removeLeftovers(): Promise<void>
}

/** Rule 8: what Yoto has issued and the store has not taken yet. */
interface Unsaved {
  set: TokenSet
  /** What the store must still hold; undefined: a sign-in, which replaces whatever is there. */
  expected: string | null | undefined
  /** Missing where the lease was lost, and what the store holds now is about to be seen. */
  error?: KeeperError
  notBefore: number
}

/** What the keeper knows at one moment; everything that is said of the sign-in is derived from it. */
export interface Snapshot {
  /** A refresh token is kept, as far as the store could last be read; undefined: it never could, or what lies there is no token. */
  kept: boolean | undefined
  set?: TokenSet
  timeLeft: number
  /** Milliseconds since 1970. */
  refreshAt?: number
  refusal?: string
  /** Why the stored token cannot be used or read. */
  unusable?: KeeperError
  trouble?: { kind: Trouble['kind']; error: KeeperError }
  /** What is kept is in memory only, and why. */
  notSaved?: KeeperError
  /** Why the store cannot be read or written. */
  storage?: KeeperError
}

export interface Keeper {
  /** Reads the store and begins to watch it. Never throws: what is wrong shows in the snapshot. */
  start(): Promise<void>
  /**
   * A valid access token, from memory where it can be (rules 1, 2).
   * @param minTtl milliseconds it should have left; a refresh is made for it where that helps
   * @throws KeeperError `signed_out`, `needs_sign_in`, `not_configured`, `storage_unavailable`, or `yoto_*`
   */
  accessToken(minTtl?: number): Promise<TokenSet>
  /**
   * Another access token than one that Yoto's API refused (rule 4): the current one, or one that is fetched now.
   * @returns undefined where no other can be had, or where the refused one was itself fetched this way a short while ago: then the
   * token is not what is wrong. Never throws.
   */
  renew(refused: TokenSet): Promise<TokenSet | undefined>
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

/** Milliseconds. */
const JUST_REFRESHED = 10_000
/** After an outage of the store, for which whoever could not save into it comes first. */
const HOLDERS_TURN = 10_000
/** Between two looks at a store that could not be read, where a look has to be arranged for. */
const UNREADABLE_PAUSE = 60_000
/** A token that was fetched because another had been refused is above suspicion for so long. */
const TRUSTED_AFTER_RENEWAL = 300_000

export function createKeeper(parts: KeeperParts): Keeper {
  const { config, store, lease, journal, clock, yoto, watchInterval } = parts
  const { random = Math.random, isUnattended = true } = parts
  /** The refresh token in the store, as last seen; null: there was none; undefined: nothing could be read, or what is no token. */
  let known: StoredToken | null | undefined
  /** The access token in memory; may have run out. */
  let current: TokenSet | undefined
  let refusal: string | undefined
  let unusable: KeeperError | undefined
  /** Since when, by the monotonic clock. */
  let trouble: (Trouble & { since: number }) | undefined
  let failures = 0
  let unsaved: Unsaved | undefined
  /** The lease is kept for as long as something is unsaved. */
  let keptLease: HeldLease | undefined
  /** The store was emptied while we hold a sign-in, and does not take it back. */
  let lost: KeeperError | undefined
  let unwritable: KeeperError | undefined
  /** A write of the record that failed, and is owed to the store. */
  let owed: (() => Promise<void>) | undefined
  /** A refresh of the stored token was begun and its outcome is not known (rule 5). */
  let intentFound = false
  /** A token that appeared in the store without its record; another instance may be about to write that. */
  let sighted: string | undefined
  /** When the store was last looked at, by the monotonic clock. */
  let lookedAt = Number.NEGATIVE_INFINITY
  /** When the store was found again after an outage, by the monotonic clock. */
  let backAt = Number.NEGATIVE_INFINITY
  /** What `renew` has fetched last, and when by the monotonic clock. */
  let renewed: { accessToken: string; at: number } | undefined
  let leftoversRemoved = false
  let refreshing: Promise<void> | undefined
  let seeking: Promise<void> | undefined
  let queue: Promise<unknown> = Promise.resolve()
  /** What may take long: begun, or waiting for its turn. */
  let underway = 0
  let closing = false

  // --- one at a time -------------------------------------------------------------------------------------------------

  /** Within this process: after everything that was begun before. */
  function afterOthers<T>(work: () => Promise<T>): Promise<T> {
    const turn = queue.then(work)
    queue = turn.catch(() => {})
    return turn
  }

  /** The same, for what may take long: who asks meanwhile is answered from memory. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    underway++
    return afterOthers(work).finally(() => underway--)
  }

  /** Over all processes. Undefined when `unless` made the lease unnecessary. Work that finds the lease lost is begun anew. */
  function inTurnWithLease<T>(
    work: (held: HeldLease) => Promise<T>,
    unless?: () => Promise<boolean>,
  ): Promise<T | undefined> {
    return inTurn(async () => {
      for (let attempt = 1; ; attempt++) {
        const held = await takeLease(unless)
        if (!held) return undefined
        try {
          return await work(held)
        } catch (error) {
          if (!isStorageError(error, 'lease_lost') || attempt === 3) throw error
        } finally {
          keptLease = unsaved ? held : undefined
          if (!keptLease) await held.release()
        }
      }
    })
  }

  async function takeLease(unless?: () => Promise<boolean>): Promise<HeldLease | undefined> {
    if (keptLease && !(await isLost(keptLease))) return keptLease
    await keptLease?.release()
    keptLease = undefined
    const held = await lease.acquire({ unless })
    if (held && !leftoversRemoved) {
      await parts.removeLeftovers().catch(() => {})
      leftoversRemoved = true
    }
    return held
  }

  // --- what the store says -------------------------------------------------------------------------------------------

  type Seen = { stored?: StoredToken; record?: TokenRecord; lost: boolean }

  /** Reads the store and takes over what it holds. Nothing kept in memory is given up when both of our records are gone (rule 10). */
  async function takeOver(): Promise<Seen> {
    const wasAway = unusable?.code === 'storage_unavailable'
    let stored: StoredToken | undefined
    let record: TokenRecord | undefined
    try {
      stored = await readToken(store)
      record = await readRecord(store)
      unusable = undefined
      if (wasAway) backAt = clock.monotonic()
    } catch (error) {
      throw cannotRead(error)
    }
    if (!stored && !record && known) return { lost: true }
    if (!stored) {
      forget()
      return { record, lost: false }
    }
    if (record?.signed_out?.fingerprint === stored.fingerprint) {
      await store.remove(REFRESH_TOKEN) // a sign-out that was interrupted
      forget()
      return { record, lost: false }
    }
    const set = tokenSetOf(stored, record, config.clientId, clock)
    // The set in memory knows more than its record (its age by the monotonic clock) and may outlive it.
    if (current?.fingerprint !== stored.fingerprint || (set && set.accessToken !== current.accessToken)) {
      current = set
      if (set) trouble = undefined // another instance got through
    }
    known = stored
    if (!owed) refusal = record?.refusals?.find((one) => isAbout(one, stored.fingerprint))?.message
    intentFound = isAbout(record?.intent, stored.fingerprint)
    return { stored, record, lost: false }
  }

  function cannotRead(error: unknown): KeeperError {
    unusable = fromStorage(error) as KeeperError
    // What cannot be read may still be there; what is no token has replaced the one we had.
    if (unusable.code === 'needs_sign_in') {
      forget()
      known = undefined
    }
    return unusable
  }

  function isAbout(what: TokenRecord['intent'], fingerprint: string): boolean {
    return what?.fingerprint === fingerprint && what.client_id === config.clientId && what.server === config.authUrl
  }

  function aboutToken(fingerprint: string) {
    return {
      fingerprint,
      client_id: config.clientId ?? '',
      server: config.authUrl,
      at: new Date(clock.wall()).toISOString(),
    }
  }

  function forget(): void {
    known = null
    current = undefined
    refusal = undefined
    trouble = undefined
    lost = undefined
    intentFound = false
    failures = 0
  }

  /** Where the last look has left something open, the next one follows soon. */
  function isLookDue(): boolean {
    const isOpen = unusable || lost || sighted !== undefined
    return clock.monotonic() - lookedAt >= (isOpen ? Math.min(watchInterval, STORAGE_PAUSE) : watchInterval)
  }

  /** Rule 10: has somebody else changed what is stored? */
  async function look(): Promise<void> {
    lookedAt = clock.monotonic()
    const before = known
    const wasUnusable = unusable
    let raw: string | undefined
    try {
      raw = (await readToken(store))?.raw
    } catch (error) {
      lookedAt = clock.monotonic() // it may have taken long to find out
      const failure = cannotRead(error)
      if (failure.message !== wasUnusable?.message) noteProblem('unusable', failure)
      return
    }
    if (raw === known?.raw && !wasUnusable) {
      lost = undefined
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
      return inLease(saveAgain).catch((error) => {
        lost ??= noteProblem('not_saved', fromStorage(error) as KeeperError)
      })
    }
    if (before && !seen.stored) journal.add('sign_out', 'elsewhere', 'The stored token was removed: signed out.')
    closeRecord(seen)
    if (before && seen.stored && !current) {
      journal.add('sign_in', 'replaced', 'Another token was put in the place of the stored one.')
    }
  }

  /** A look that has begun may have missed what was saved since: whoever comes later waits for the next one. */
  async function seek(): Promise<void> {
    if ((known && refusal === undefined) || underway > 0) return
    seeking ??= afterOthers(() => {
      seeking = undefined
      return look()
    }).catch(() => {})
    await seeking
  }

  /** Another instance may have died over a refresh: while a leeway may be open, it is for those that live to repeat it (rule 5). */
  async function lookForIntent(): Promise<void> {
    if (!known || intentFound) return
    const record = await readRecord(store)
    intentFound = isAbout(record?.intent, known.fingerprint)
  }

  async function hasRecord(raw: string): Promise<boolean> {
    return (await readRecord(store))?.fingerprint === fingerprintOf(raw.trim())
  }

  /** Within a turn. */
  async function inLease(work: () => Promise<void>): Promise<void> {
    const held = await takeLease()
    try {
      await work()
    } finally {
      await held?.release()
    }
  }

  /**
   * The token was removed from outside: the access token in its record is to go too. Without a fingerprint: whoever puts the file
   * back is signed in again.
   */
  function closeRecord({ stored, record }: Seen): void {
    if (stored || !record || record.signed_out) return
    owed = async () => {
      if (await store.read(REFRESH_TOKEN)) return
      await writeRecord(store, { version: 1, signed_out: { at: new Date(clock.wall()).toISOString() } })
    }
  }

  /** Under the lease: what is owed to the store, as far as it can be had now. */
  async function payOwed(): Promise<void> {
    await owed?.()
    owed = undefined
  }

  /** Rule 10: both records gone while we hold a sign-in: the store was lost, not the sign-in. */
  async function saveAgain(): Promise<void> {
    if (!known || !(await takeOver()).lost) return
    try {
      await store.write(REFRESH_TOKEN, known.token, null)
      known = { ...known, raw: known.token }
      if (current) await writeRecord(store, recordOf(current))
      lost = undefined
      journal.add('storage', 'saved_again', 'The store had been emptied: the sign-in was saved again.')
    } catch (error) {
      lost ??= noteProblem('not_saved', fromStorage(error) as KeeperError)
      throw error
    }
  }

  function noteProblem(outcome: string, error: KeeperError): KeeperError {
    journal.add('storage', outcome, [error.message, error.hint].filter(Boolean).join(' '))
    return error
  }

  // --- saving --------------------------------------------------------------------------------------------------------

  /** Rule 5: the refresh token, then the record; rule 6: only if the store still holds what was sent. */
  async function save(set: TokenSet, expected: string | null | undefined, held: HeldLease): Promise<void> {
    // A token that did not rotate keeps its bytes.
    const raw = expected?.trim() === set.refreshToken ? expected : set.refreshToken
    await held.check()
    await store.write(REFRESH_TOKEN, raw, expected)
    await held.check()
    await writeRecord(store, recordOf(set))
    known = { raw, token: set.refreshToken, fingerprint: set.fingerprint }
  }

  /** Saves what Yoto issued, then lets it be used. Where saving fails it is held in memory and tried again (rule 8). */
  async function keep(set: TokenSet, expected: string | null | undefined, held: HeldLease): Promise<void> {
    try {
      await save(set, expected, held)
      if (unsaved?.error) journal.add('storage', 'saved', 'The sign-in has been saved.')
      unsaved = undefined
    } catch (error) {
      if (isStorageError(error, 'conflict')) {
        unsaved = undefined
        return settleConflict(set, held)
      }
      // Whoever has taken over may have refreshed as well: that is settled under the lease, before anything is used or said.
      if (isStorageError(error, 'lease_lost')) {
        unsaved = { set, expected, notBefore: 0 }
        throw error
      }
      hold(set, expected, error)
    }
    use(set)
  }

  /** Rule 8. */
  function hold(set: TokenSet, expected: string | null | undefined, error: unknown): void {
    const failure = fromStorage(error) as KeeperError
    if (!unsaved?.error) noteProblem('not_saved', failure)
    unsaved = { set, expected, error: failure, notBefore: clock.monotonic() + STORAGE_PAUSE }
  }

  async function saveUnsaved(held: HeldLease): Promise<void> {
    if (unsaved) await keep(unsaved.set, unsaved.expected, held)
  }

  function use(set: TokenSet): void {
    current = set
    known ??= { raw: set.refreshToken, token: set.refreshToken, fingerprint: set.fingerprint }
    refusal = undefined
    unusable = undefined
    trouble = undefined
    lost = undefined
    owed = undefined
    intentFound = false
    failures = 0
  }

  /** Rule 6: the token that was sent is no longer the stored one. What is stored counts; what came back is revoked and dropped. */
  async function settleConflict(set: TokenSet, held: HeldLease): Promise<void> {
    const seen = await takeOver()
    if (seen.lost || (!seen.stored && !seen.record)) return keep(set, null, held)
    if (!sharesFate(set, seen, !(await isLost(held)))) await yoto.revoke(set.refreshToken)
    closeRecord(seen)
    const what = seen.stored ? 'replaced' : 'removed'
    journal.add(
      'refresh',
      'dropped',
      `The stored token was ${what} during a refresh: what the refresh brought was dropped.`,
    )
  }

  /**
   * Whether revoking `set` would end the stored sign-in as well: it is of the same family (another instance repeated our refresh), or
   * of the same account and client. Auth0 tenants of before 2021 revoke all refresh tokens of one user, client and audience together
   * ("Refresh Token Revocation Deletes Grant", Auth0: Revoke Refresh Tokens).
   */
  function sharesFate(set: TokenSet, seen: Seen, stillHeld = true): boolean {
    const { stored, record } = seen
    if (!stored || !record) return false
    const speaksOfStored = record.fingerprint === stored.fingerprint
    if (record.family === set.family && (speaksOfStored || !stillHeld)) return true
    return speaksOfStored && !!set.subject && record.subject === set.subject && record.client_id === set.clientId
  }

  // --- refreshing ----------------------------------------------------------------------------------------------------

  /** Single-flight; `current` is the token that ran out or failed (rule 4). */
  function refresh(): Promise<void> {
    refreshing ??= refreshOnce().finally(() => {
      refreshing = undefined
    })
    return refreshing
  }

  async function refreshOnce(): Promise<void> {
    if (closing) throw new KeeperError('yoto_unreachable', 'The service is shutting down.', { retryAfter: 5_000 })
    if (unsaved) return // rule 8: no second rotation before the first is saved
    const named = current
    const forIntent = intentFound && !trouble && !isTimeToRefresh()
    const answered = async () => {
      await takeOver()
      return !known || isNews(named)
    }
    try {
      await inTurnWithLease((held) => refreshUnderLease(held, named, forIntent), answered)
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      const failure = fromStorage(error) as KeeperError
      throw inTrouble({ kind: 'storage', error: failure, pause: STORAGE_PAUSE, told: false })
    }
  }

  /** The token in memory is another than the named one, and good for a while. */
  function isNews(named: TokenSet | undefined): boolean {
    return (
      !!current &&
      !intentFound &&
      current.accessToken !== named?.accessToken &&
      timeLeft(current, clock) >= margin(current)
    )
  }

  /** Rules 3 to 7, in their order. */
  async function refreshUnderLease(held: HeldLease, named: TokenSet | undefined, forIntent = false): Promise<void> {
    if (unsaved) return saveUnsaved(held)
    if (closing) return
    const seen = await takeOver()
    if (seen.lost) await saveAgain()
    if (forIntent && !intentFound) return
    const stored = known
    if (!stored || !config.clientId || refusal !== undefined || isNews(named)) return

    const mayHaveRotated = intentFound
    const record = recordFor(stored, seen.record)
    await writeRecord(store, { ...record, intent: aboutToken(stored.fingerprint) })
    const { outcome, sent, lostOne } = await send(stored.token, held)

    if (outcome.meaning === 'tokens') {
      const before = { refreshToken: stored.token, clientId: config.clientId, family: record.family }
      const set = tokenSetFrom(outcome.tokens, sent, before)
      await keep(set, stored.raw, held)
      if (current === set)
        journal.add('refresh', 'ok', `Refreshed; valid until ${new Date(set.expiresAt).toISOString()}.`)
      else if (known && !isNews(named)) await refreshUnderLease(held, named)
      return
    }
    if (outcome.meaning === 'refused') {
      await takeOver()
      if (!known) return // signed out meanwhile
      if (known.fingerprint !== stored.fingerprint) return refreshUnderLease(held, named)
      refusal = outcome.message
      intentFound = false
      journal.add('refresh', 'refused', `${outcome.message} The sign-in is over.`)
      const refusals = [...(record.refusals ?? []), { ...aboutToken(stored.fingerprint), message: outcome.message }]
      owed = () => writeRecord(store, { ...record, refusals })
      await payOwed().catch(() => {})
      return
    }
    if (outcome.meaning === 'unknown' || lostOne || mayHaveRotated) intentFound = true
    else await writeRecord(store, record).catch(() => {})
    journal.add('refresh', outcome.meaning, outcome.message)
    throw inTrouble(troubleOf(outcome, failures++, random))
  }

  /** What is known about a token; where its record is about another, that is nothing. */
  function recordFor({ fingerprint }: StoredToken, record: TokenRecord | undefined): TokenRecord {
    if (record?.fingerprint === fingerprint)
      return { ...record, intent: undefined, family: record.family ?? fingerprint }
    // After an intent the last rotation got no further than its first write; else the token was put there by hand.
    return { version: 1, fingerprint, family: (record?.intent && record.family) ?? fingerprint }
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

  function inTrouble(what: Trouble): KeeperError {
    trouble = { ...what, since: clock.monotonic() }
    return what.error
  }

  /** A pause between two attempts is on. */
  function isPausing(): boolean {
    return !!trouble && clock.monotonic() < trouble.since + trouble.pause
  }

  /** The access token in memory, with at least `need` ms of life. */
  function inMemory(need: number): TokenSet | undefined {
    return current && timeLeft(current, clock) >= need ? current : undefined
  }

  function isRefreshDue(): boolean {
    if (!isRefreshPossible()) return false
    // Who began it may hold what it brought, and be about to save it: sent again, the old token would end both (rules 5, 8).
    if (intentFound && clock.monotonic() - backAt < HOLDERS_TURN) return false
    // After a failure somebody is waiting for it, even if it was not due.
    return intentFound || !!trouble || isTimeToRefresh()
  }

  function isTimeToRefresh(): boolean {
    return !current || timeLeft(current, clock) <= refreshAheadAt(current, config.refreshInterval)
  }

  function isRefreshPossible(): boolean {
    return !!known && refusal === undefined && !unusable && !unsaved && !closing && !!config.clientId && !isPausing()
  }

  function storageTrouble(): KeeperError | undefined {
    return trouble?.kind === 'storage' ? trouble.error : undefined
  }

  function whyNone(): KeeperError {
    if (!config.clientId) return notConfigured()
    if (unusable) return unusable
    if (unsaved?.error) return unsaved.error
    if (refusal !== undefined) {
      return new KeeperError('needs_sign_in', `Yoto no longer accepts the sign-in. ${refusal}`, {
        hint: 'Sign in again on the page.',
      })
    }
    if (!known) return new KeeperError('signed_out', 'Nobody is signed in.', { hint: 'Sign in on the page.' })
    return (
      trouble?.error ??
      new KeeperError('yoto_unreachable', 'No valid token can be had now.', { hint: 'Try again in a minute.' })
    )
  }

  function isJustIssued(set: TokenSet | undefined): boolean {
    const age = set ? clock.wall() - set.issuedAt : -1
    return age >= 0 && age < JUST_REFRESHED && !!set && timeLeft(set, clock) >= margin(set)
  }

  /** Can the store be written at all? */
  async function probe(): Promise<void> {
    try {
      const held = await lease.tryAcquire()
      await held?.release()
      unwritable = undefined
    } catch (error) {
      const failure = fromStorage(error) as KeeperError
      unwritable ??= noteProblem('unavailable', failure)
    }
  }

  return {
    async start() {
      lookedAt = clock.monotonic()
      await inTurn(takeOver).then(closeRecord, () => {})
      if (unusable) noteProblem('unusable', unusable)
      await inTurn(probe)
      if (isUnattended && isRefreshDue()) refresh().catch(() => {})
    },

    async accessToken(minTtl = 0) {
      await seek()
      const enough = current && Math.max(margin(current), Math.min(minTtl, lifetime(current)))
      if (enough !== undefined && inMemory(enough)) {
        const ahead = isRefreshDue() && refresh().catch(() => {})
        if (!isUnattended) await ahead
      } else if (!isJustIssued(current) && isRefreshPossible()) {
        await refresh().catch((error) => {
          if (!inMemory(1)) throw error
        })
      }
      // Rule 1: where no refresh can be had, a token that is still valid is handed out to its end.
      const set = inMemory(1)
      if (!set) throw whyNone()
      return set
    },

    async renew({ accessToken }) {
      const isCurrent = () => current?.accessToken === accessToken
      const isTrusted = renewed?.accessToken === accessToken && clock.monotonic() - renewed.at < TRUSTED_AFTER_RENEWAL
      if (isCurrent() && !isTrusted && isRefreshPossible()) {
        await refresh().catch(() => {}) // the snapshot says why
        if (current && !isCurrent()) renewed = { accessToken: current.accessToken, at: clock.monotonic() }
      }
      return isCurrent() ? undefined : inMemory(1)
    },

    async refreshNow() {
      if (unsaved?.error) throw unsaved.error
      await seek()
      if (isJustIssued(current)) return
      // Whoever asks may cut a pause short, but not one that Yoto asked for, and not in a storm.
      const patient = trouble && (trouble.told || clock.monotonic() - trouble.since < JUST_REFRESHED)
      if (trouble && patient && isPausing()) throw trouble.error
      if (known && refusal === undefined) await refresh()
      if (unsaved || refusal !== undefined || !current) throw whyNone()
    },

    async signIn(tokens, sent) {
      const set = tokenSetFrom(tokens, sent, { refreshToken: '', clientId: config.clientId ?? '' })
      let before = current?.subject
      let revoking: Promise<unknown> | undefined
      const done = inTurnWithLease(async (held) => {
        const old = unsaved?.set.refreshToken ?? (await readToken(store).catch(() => undefined))?.token
        const oldRecord = await readRecord(store).catch(() => undefined)
        before ??= oldRecord?.subject
        const wasRefused = refusal !== undefined
        await keep(set, undefined, held)
        // Rule 9, but for a family that is dead already or would not die alone. A new sign-in that is not saved yet needs the old one.
        if (!old || old === set.refreshToken || wasRefused || unsaved) return
        const stored = { raw: old, token: old, fingerprint: fingerprintOf(old) }
        if (!sharesFate(set, { stored, record: oldRecord, lost: false })) revoking = yoto.revoke(old)
      })
      await done.catch((error) => {
        if (!(error instanceof StorageError)) throw error
        hold(set, undefined, error) // the lease cannot be had; the code is spent all the same
        use(set)
      })
      if (!isUnattended) await revoking
      return { otherAccount: before !== undefined && set.subject !== undefined && before !== set.subject }
    },

    async signOut() {
      const done = await inTurnWithLease(async (held) => {
        const kept = unsaved?.set.refreshToken ?? (await readToken(store).catch(() => undefined))?.token ?? known?.token
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
        unsaved = undefined
        unusable = undefined
        forget()
        if (!written) owed = () => writeRecord(store, record)
        await payOwed().catch(() => {})
        if (kept) journal.add('sign_out', 'ok', revoked ? 'Signed out.' : 'Signed out here; Yoto could not be told.')
        return { wasSignedIn: kept !== undefined, revoked }
      })
      return done ?? { wasSignedIn: false, revoked: false }
    },

    seek,

    snapshot() {
      return {
        kept: known === undefined ? undefined : known !== null,
        set: current,
        timeLeft: current ? timeLeft(current, clock) : 0,
        refreshAt: current && current.expiresAt - refreshAheadAt(current, config.refreshInterval),
        refusal,
        unusable,
        trouble,
        notSaved: unsaved?.error ?? lost,
        storage: (unusable?.code === 'storage_unavailable' && unusable) || unwritable || storageTrouble(),
      }
    },

    async tick() {
      if (underway > 0) return refreshing?.catch(() => {})
      if (unsaved) {
        if (clock.monotonic() >= unsaved.notBefore) await inTurnWithLease(saveUnsaved).catch(() => {})
      } else if (isLookDue()) await afterOthers(look).catch(() => {})
      if (unwritable) await afterOthers(probe)
      if (owed) await inTurnWithLease(payOwed).catch(() => {})
      if (isRefreshDue()) await refresh().catch(() => {})
    },

    nextDue() {
      if (closing) return undefined
      if (unsaved) return wallTimeOf(unsaved.notBefore, clock)
      if (owed || lost || unwritable) return clock.wall() + STORAGE_PAUSE
      if (unusable?.code === 'storage_unavailable') return clock.wall() + UNREADABLE_PAUSE
      if (!known || refusal !== undefined || unusable || !config.clientId) return undefined
      if (trouble && isPausing()) return wallTimeOf(trouble.since + trouble.pause, clock)
      if (isRefreshDue() || !current) return clock.wall()
      return clock.wall() + timeLeft(current, clock) - refreshAheadAt(current, config.refreshInterval)
    },

    async close(others) {
      closing = true
      await others
      await queue
      if (unsaved) await inTurnWithLease(saveUnsaved).catch(() => {})
      if (unsaved)
        journal.add('stop', 'not_saved', 'Stopped before the sign-in could be saved: it may have to be repeated.')
      await keptLease?.release()
    },
  }
}

export function notConfigured(): KeeperError {
  return new KeeperError('not_configured', 'No client id is set, so nobody can sign in to Yoto.', {
    hint: 'Get one in the developer dashboard at https://yoto.dev, set YOTO_CLIENT_ID to it and restart.',
  })
}

async function isLost(held: HeldLease): Promise<boolean> {
  return held.check().then(
    () => false,
    (error) => isStorageError(error, 'lease_lost'),
  )
}
