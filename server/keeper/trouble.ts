import { KeeperError } from '../errors'
import type { Outcome } from '../yoto/outcome'

/** What stands in the way of a refresh. */
export interface Trouble {
  kind: 'yoto_unreachable' | 'misconfigured' | 'storage'
  error: KeeperError
  /** Milliseconds until another attempt makes sense. */
  pause: number
  /** Yoto itself named the pause: nobody may cut it short. */
  told: boolean
}

/** Milliseconds. */
const MISCONFIGURED_PAUSE = 300_000
const LONGEST_BACKOFF = 300_000
export const STORAGE_PAUSE = 1_000

/**
 * The reaction to an answer that is neither tokens nor a refusal (rule 7).
 * @param failures how many attempts in a row have failed before this one
 * @param random from 0 to 1, as Math.random: the jitter
 */
export function troubleOf(
  outcome: Exclude<Outcome, { meaning: 'tokens' | 'refused' }>,
  failures: number,
  random: () => number,
): Trouble {
  const { meaning, message } = outcome
  switch (meaning) {
    case 'misconfigured': {
      const error = new KeeperError('yoto_error', message, { hint: outcome.hint })
      return { kind: 'misconfigured', error, pause: MISCONFIGURED_PAUSE, told: false }
    }
    case 'not_now': {
      const pause = outcome.retryAfter
      const error = new KeeperError('yoto_unreachable', message, { retryAfter: pause })
      return { kind: 'yoto_unreachable', error, pause, told: true }
    }
    default: {
      const pause = backoff(failures, random)
      const code = meaning === 'not_sent' ? 'yoto_unreachable' : outcome.code
      return {
        kind: 'yoto_unreachable',
        error: new KeeperError(code, message, { retryAfter: pause }),
        pause,
        told: false,
      }
    }
  }
}

/**
 * Milliseconds until the next attempt: 1 s, 2 s, 4 s … 5 min, each with jitter, so that instances do not come back together.
 * @param failures how many attempts in a row have failed before this one
 */
export function backoff(failures: number, random: () => number = Math.random): number {
  return Math.min(1_000 * 2 ** failures, LONGEST_BACKOFF) * (0.5 + random() / 2)
}
