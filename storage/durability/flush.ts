import type { Command, Wire } from '../command'
import { infoOf } from './info'

/** Milliseconds. A file that is flushed every second takes no longer, unless its disk is slow; with the write it is within TIME_LIMIT. */
const LONGEST_FLUSH = 1_500
/** Milliseconds. A replica that is well has it after one round trip. */
const LONGEST_COPY = 500

export interface Flush {
  /** Resolves when what it has changed is on the disk and at a replica, where there are such and they can be waited for. */
  run: Command
  /** What the last one has waited for in vain. It is stored all the same. */
  missed(): readonly string[]
  /** Redis never flushes by itself (`appendfsync no`): nothing is to be waited for. */
  isPointless: boolean
}

/**
 * Changes that are waited for. Everything goes out at once, so that it is one round trip; Redis refuses what it does not have: WAITAOF
 * before 7.2 and without an append-only file, INFO where it is forbidden.
 * @param wire on which nobody else is kept waiting
 */
export function whenFlushed({ run, ask }: Wire): Flush {
  let missed: string[] = []

  const flush: Flush = {
    isPointless: false,
    missed: () => missed,
    async run(...words) {
      const done = run(...words)
      const replication = ask('INFO', 'replication').catch(() => undefined)
      // Of the file: 1 or 0, and at how many replicas (redis.io/commands/waitaof).
      const local = flush.isPointless ? undefined : ask('WAITAOF', 1, 0, LONGEST_FLUSH).catch(() => [0])
      const answer = await done
      const unheard: string[] = []
      if (((await local) as unknown[] | undefined)?.[0] === 0) unheard.push('on its disk')
      if (replicasIn(await replication) > 0) {
        // One is enough: who fails over by Sentinel or by hand picks the one that is furthest.
        const copies = await ask('WAIT', 1, LONGEST_COPY).catch(() => 0)
        if (copies === 0) unheard.push('at a replica')
      }
      missed = unheard
      return answer
    },
  }
  return flush
}

function replicasIn(info: unknown): number {
  return Number(infoOf(info).get('connected_slaves') ?? 0)
}
