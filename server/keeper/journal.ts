import * as v from 'valibot'
import type { Lease, TokenStorage } from '../../storage'
import { parseJson } from '../yoto/outcome'

export const JOURNAL = '.yoto_journal.json'

/** As many events as are kept. */
const LENGTH = 500
/** Milliseconds after an event at which it is written. */
const WRITE_AFTER = 1_000

const Event = v.object({
  at: v.string(),
  kind: v.picklist(['start', 'sign_in', 'refresh', 'sign_out', 'storage', 'stop']),
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
  /** The last events, oldest first. */
  read(): Promise<Event[]>
  /** Writes what has not been written; never throws. */
  flush(): Promise<void>
}

/**
 * The history of what happened to the sign-in: 500 events, repeats counted. It is written a second later and under a lease of its own,
 * so that it neither delays a save nor is overwritten by another instance; when it cannot be written, only history is lost.
 */
export function createJournal(storage: TokenStorage, lease: Lease, print: (line: string) => void): Journal {
  let pending: Event[] = []
  let timer: ReturnType<typeof setTimeout> | undefined
  let writing = Promise.resolve()

  const stored = async (): Promise<Event[]> => {
    const raw = await storage.getItemRaw<string>(JOURNAL)
    const parsed = v.safeParse(v.array(Event), parseJson(raw ?? '[]'))
    return parsed.success ? parsed.output : []
  }

  async function write(): Promise<void> {
    timer = undefined
    if (pending.length === 0) return
    const held = await lease.tryAcquire().catch(() => undefined)
    if (!held) return schedule()
    const batch = pending
    pending = []
    try {
      const events = batch.reduce(append, await stored())
      await storage.setItemRaw(JOURNAL, `${JSON.stringify(events)}\n`)
    } catch {
      pending = batch.concat(pending).slice(-LENGTH)
      schedule()
    } finally {
      await held.release()
    }
  }

  function schedule(): void {
    timer ??= setTimeout(() => {
      writing = writing.then(write)
    }, WRITE_AFTER)
    ;(timer as { unref?: () => void }).unref?.()
  }

  return {
    add(kind, outcome, message) {
      print(`${kind} ${outcome}: ${message}`)
      pending = append(pending, { at: new Date().toISOString(), kind, outcome, message })
      schedule()
    },
    async read() {
      return pending.reduce(append, await stored())
    },
    async flush() {
      clearTimeout(timer)
      writing = writing.then(write)
      await writing
      clearTimeout(timer)
    },
  }
}

/** A repeat of the last event is counted; the oldest event makes room for a new one. */
function append(events: Event[], next: Event): Event[] {
  const last = events.at(-1)
  if (last && last.kind === next.kind && last.outcome === next.outcome && last.message === next.message) {
    const repeated = { ...last, count: (last.count ?? 1) + (next.count ?? 1), last_at: next.last_at ?? next.at }
    return [...events.slice(0, -1), repeated]
  }
  return [...events, next].slice(-LENGTH)
}
