import * as v from 'valibot'
import { type HeldLease, isStorageError, type Lease, type TokenStore } from '../../storage'
import type { Config } from '../config'
import { type Clock, wallTimeOf } from '../keeper/clock'
import type { Journal } from '../keeper/journal'
import type { Keeper } from '../keeper/keeper'
import { backoff } from '../keeper/trouble'
import { parseJson } from '../yoto/outcome'
import { CONDITIONS, type Condition, conditionOf, patience, type Seen } from './condition'
import { noticeOf } from './notice'
import { send } from './webhook'

export const NOTICE = '.yoto_notice.json'

/** `.yoto_notice.json`: what the owner was told last, or is being told. */
const Record = v.object({
  version: v.literal(1),
  condition: v.picklist(CONDITIONS),
  at: v.pipe(v.string(), v.isoTimestamp()),
  delivered: v.boolean(),
})

type Record = v.InferOutput<typeof Record>

/** With `raw` as it lies there, for a conditional write. */
interface Found {
  raw: string | null
  record?: Record
}

export interface Notices {
  /** One look at the condition, and one attempt at a notice that has not been delivered; to be called every so often. Never throws. */
  tick(): Promise<void>
  /** When `tick` is to be called next, where nobody calls it every so often: milliseconds since 1970; undefined: there is no need. */
  nextDue(): number | undefined
  /** Breaks off an attempt under way; the next start repeats it. */
  close(): void
}

/**
 * Tells the owner at NOTIFY_URL when something is wrong with the sign-in, and when it is well again: once each, over restarts and over
 * all processes on one store. Who writes the condition into the record tells it; who finds it there does not, but for what has not been
 * delivered. A process acts only where its own condition is another than the one it knows as told, so that two that see different
 * things do not contradict each other for ever. Where the store cannot be written, what was told is remembered in memory.
 */
export function createNotices(parts: {
  config: Config
  store: TokenStore
  keeper: Keeper
  /** One of its own; held for an attempt, so that two processes do not send the same. */
  lease: Lease
  journal: Journal
  clock: Clock
}): Notices {
  const { config, store, keeper, lease, journal, clock } = parts
  const { notifyUrl } = config
  /** Undefined until the record has been looked for. */
  let told: Condition | undefined
  /** The record as this process last read or wrote it; undefined: it could not be read yet. */
  let known: string | null | undefined
  /** What `told` says has not been delivered. */
  let owed: { at: string; failures: number; notBefore: number } | undefined
  let seen: (Seen & { since: number }) | undefined
  const closing = new AbortController()

  async function read(): Promise<Found> {
    const raw = await store.read(NOTICE)
    const parsed = v.safeParse(Record, parseJson(raw ?? ''))
    return { raw, record: parsed.success ? parsed.output : undefined }
  }

  async function write(record: Record, onlyIf: string | null): Promise<void> {
    const raw = `${JSON.stringify(record)}\n`
    await store.write(NOTICE, raw, onlyIf)
    known = raw
  }

  function adopt({ raw, record }: Found): void {
    known = raw
    told = record?.condition ?? 'well'
    owed = record && !record.delivered ? { at: record.at, failures: 0, notBefore: 0 } : undefined
  }

  /** Until the store can be read. */
  function assumeWell(): void {
    told = 'well'
  }

  /** Another condition than the one that was told; `silently`: nobody is to hear of it. */
  async function takeUp(condition: Condition, silently: boolean): Promise<void> {
    const record: Record = { version: 1, condition, at: new Date(clock.wall()).toISOString(), delivered: silently }
    try {
      const found = await read()
      const isNews = known !== undefined && found.raw !== known
      if (isNews && found.record?.condition === condition) return adopt(found)
      known = found.raw
      await write(record, found.raw)
    } catch (error) {
      if (isStorageError(error, 'conflict')) return // another process: looked at again
      // Otherwise it is told all the same.
    }
    told = condition
    owed = silently ? undefined : { at: record.at, failures: 0, notBefore: 0 }
  }

  async function deliver(url: string, condition: Condition, hint?: string): Promise<void> {
    let held: HeldLease | undefined
    try {
      held = await lease.tryAcquire()
      if (!held) return // another process is at it
    } catch {} // no store, no lease
    try {
      if (await isOthers()) owed = undefined
      if (!owed) return
      const failure = await send(url, noticeOf(condition, owed.at, config, hint), closing.signal)
      if (failure === undefined) await noteDelivered(condition, owed.at)
      else if (!closing.signal.aborted) noteFailure(condition, owed, failure)
    } finally {
      await held?.release()
    }
  }

  /** Another process has delivered it, or has something newer to tell. An emptied store says nothing. */
  async function isOthers(): Promise<boolean> {
    const raw = await store.read(NOTICE).catch(() => null)
    return raw !== null && raw !== known
  }

  async function noteDelivered(condition: Condition, at: string): Promise<void> {
    owed = undefined
    await write({ version: 1, condition, at, delivered: true }, known ?? null).catch(() => {})
    journal.add('notice', 'sent', `The owner was told: ${condition}.`)
  }

  function noteFailure(condition: Condition, what: NonNullable<typeof owed>, why: string): void {
    owed = { ...what, failures: what.failures + 1, notBefore: clock.monotonic() + backoff(what.failures) }
    journal.add('notice', 'failed', `NOTIFY_URL could not be told: ${condition} (${why}). It is tried again.`)
  }

  return {
    async tick() {
      if (!notifyUrl || closing.signal.aborted) return
      if (told === undefined) await read().then(adopt, assumeWell)
      const now = keeper.snapshot()
      const next = conditionOf(config, now)
      const since = next && next.condition === seen?.condition ? seen.since : clock.monotonic()
      seen = next && { ...next, since }
      if (!seen) return
      if (clock.monotonic() - since >= patience(seen, now)) {
        const silently = seen.condition === 'signed_out'
        const condition = seen.condition === 'signed_out' ? 'well' : seen.condition
        if (condition !== told || (silently && owed)) await takeUp(condition, silently)
      }
      // What is true no longer is not sent.
      if (owed && seen.condition === told && clock.monotonic() >= owed.notBefore) {
        await deliver(notifyUrl, told, seen.hint)
      }
    },

    nextDue() {
      if (!notifyUrl || closing.signal.aborted) return undefined
      const now = keeper.snapshot()
      const next = conditionOf(config, now)
      if (!next) return undefined
      const condition = next.condition === 'signed_out' ? 'well' : next.condition
      if (condition === told && !(owed && next.condition === 'signed_out')) {
        return owed && wallTimeOf(owed.notBefore, clock)
      }
      const since = next.condition === seen?.condition ? seen.since : clock.monotonic()
      return wallTimeOf(since + patience(next, now), clock)
    },

    close() {
      closing.abort()
    },
  }
}
