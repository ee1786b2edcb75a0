import * as v from 'valibot'
import type { Lease, TokenStore } from '../../storage'
import { parseJson } from '../yoto/outcome'
import { systemClock, wallTimeOf } from './clock'

export const JOURNAL = '.yoto_journal.json'

/** As many events as are kept. */
const LENGTH = 500
/** Milliseconds after an event, or after something that is only counted, at which it is written. */
const WRITE_AFTER = 1_000
const WRITE_COUNTS_AFTER = 60_000

export const EVENT_KINDS = ['start', 'sign_in', 'refresh', 'sign_out', 'storage', 'access', 'notice', 'stop'] as const

const Event = v.object({
  at: v.string(),
  kind: v.picklist(EVENT_KINDS),
  outcome: v.string(),
  message: v.string(),
  /** How often the same thing happened in a row, and when last. */
  count: v.optional(v.number()),
  last_at: v.optional(v.string()),
})

export type Event = v.InferOutput<typeof Event>

export interface Journal {
  /** Notes an event and prints it. Returns at once; never throws. Nothing secret goes in. */
  add(kind: Event['kind'], outcome: string, message: string): void
  /** Counts what may happen at every call: one event a day, not printed. Returns at once; never throws. */
  count(kind: 'access', outcome: string, message: string): void
  /** The last events, oldest first. */
  read(): Promise<Event[]>
  /** Writes what is due; for where no timer does. Never throws. */
  tick(): Promise<void>
  /** When `tick` is to be called next, in milliseconds since 1970; undefined: there is no need. */
  nextDue(): number | undefined
  /** Writes what has not been written; never throws. */
  flush(): Promise<void>
}

/**
 * The history of what happened to the sign-in: 500 events, repeats counted. It is written a second later and under a lease of its own,
 * so that it neither delays a save nor is overwritten by another instance; when it cannot be written, only history is lost.
 *
 * @param isProcess false: nothing runs between requests, and `tick` is to write instead, an event at once
 */
export function createJournal(
  store: TokenStore,
  lease: Lease,
  print: (line: string) => void,
  isProcess = true,
): Journal {
  let pending: Event[] = []
  let timer: ReturnType<typeof setTimeout> | undefined
  let due = Number.POSITIVE_INFINITY
  let turn: Promise<unknown> = Promise.resolve()

  /** One after the other: a batch on its way is neither pending nor stored. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = turn.then(work)
    turn = done.catch(() => {})
    return done
  }

  const stored = async (): Promise<Event[]> => {
    const raw = await store.read(JOURNAL)
    const parsed = v.safeParse(v.array(Event), parseJson(raw ?? '[]'))
    return parsed.success ? parsed.output : []
  }

  async function write(): Promise<void> {
    due = Number.POSITIVE_INFINITY
    if (pending.length === 0) return
    // Nobody comes back for what is left where nothing runs between requests.
    const taking = isProcess ? lease.tryAcquire() : lease.acquire({ timeout: WRITE_AFTER })
    const held = await taking.catch(() => undefined)
    if (!held) return schedule()
    const batch = pending
    pending = []
    try {
      const events = batch.reduce(append, await stored())
      await store.write(JOURNAL, `${JSON.stringify(events)}\n`)
    } catch {
      pending = batch.concat(pending).slice(-LENGTH)
      schedule()
    } finally {
      await held.release()
    }
  }

  function schedule(after = WRITE_AFTER): void {
    if (performance.now() + after >= due) return
    due = performance.now() + after
    if (!isProcess) return
    clearTimeout(timer)
    timer = setTimeout(() => void inTurn(write), after)
    ;(timer as { unref?: () => void }).unref?.()
  }

  async function flush(): Promise<void> {
    clearTimeout(timer)
    await inTurn(write)
    clearTimeout(timer)
  }

  function note(kind: Event['kind'], outcome: string, message: string): void {
    pending = append(pending, { at: new Date().toISOString(), kind, outcome, message })
  }

  return {
    add(kind, outcome, message) {
      print(`${kind} ${outcome}: ${message}`)
      note(kind, outcome, message)
      schedule(isProcess ? WRITE_AFTER : 0)
    },
    count(kind, outcome, message) {
      note(kind, outcome, message)
      schedule(WRITE_COUNTS_AFTER)
    },
    read() {
      return inTurn(async () => {
        const kept = await stored()
        return pending.reduce(append, kept)
      })
    },
    async tick() {
      if (performance.now() >= due) await flush()
    },
    nextDue() {
      return due < Number.POSITIVE_INFINITY ? wallTimeOf(due, systemClock) : undefined
    },
    flush,
  }
}

/** A repeat is counted; the oldest event makes room for a new one. */
function append(events: Event[], next: Event): Event[] {
  const at = repeatedAt(events, next)
  const before = events[at]
  if (!before) return [...events, next].slice(-LENGTH)
  const count = (before.count ?? 1) + (next.count ?? 1)
  return events.with(at, { ...before, count, last_at: next.last_at ?? next.at })
}

/** An equal event repeats the last one; one that is counted repeats that of its day, wherever it stands. */
function repeatedAt(events: Event[], next: Event): number {
  const isSame = (one: Event | undefined) =>
    one?.kind === next.kind && one.outcome === next.outcome && one.message === next.message
  if (next.kind !== 'access') return isSame(events.at(-1)) ? events.length - 1 : -1
  return events.findLastIndex((one) => isSame(one) && dayOf(one) === dayOf(next))
}

/** In UTC. */
function dayOf({ at }: Event): string {
  return at.slice(0, 10)
}
