import type { Config } from '../config'
import type { Snapshot } from '../keeper/keeper'
import { lifetime } from '../keeper/token-set'
import { standingOf } from '../status/standing'

/** What the owner is told of. */
export const CONDITIONS = ['lost', 'not_saved', 'running_out', 'well'] as const
export type Condition = (typeof CONDITIONS)[number]

/** `signed_out`: somebody wanted it so, and nothing is to be told. */
export type Seen = { condition: Condition | 'signed_out'; hint?: string }

/**
 * What the owner would want to hear, from what the page says at that moment.
 * @returns undefined while it is open: not configured; a token runs out and no refresh has failed yet; one has failed with time to spare
 */
export function conditionOf(config: Config, now: Snapshot): Seen | undefined {
  const { state, problem, hint } = standingOf(config, now)
  switch (state) {
    case 'not_configured':
      return undefined
    case 'signed_out':
      return { condition: 'signed_out' }
    case 'needs_sign_in':
      // A store that cannot be read may still hold the sign-in.
      return { condition: now.unusable?.code === 'storage_unavailable' ? 'not_saved' : 'lost', hint }
  }
  if (problem === 'not_saved') return { condition: 'not_saved', hint }
  const isInTrouble = problem === 'yoto_unreachable' || problem === 'misconfigured'
  if (isRunningOut(now)) return isInTrouble ? { condition: 'running_out', hint } : undefined
  return isInTrouble ? undefined : { condition: 'well' }
}

/** An hour is time enough to look after it; it is refreshed ahead long before (rule 2). */
function isRunningOut({ set, timeLeft }: Snapshot): boolean {
  return !set || timeLeft < Math.min(3_600_000, lifetime(set) * 0.1)
}

/**
 * Milliseconds for which a condition must have lasted to be told: nobody is woken by what mends itself in a moment, as a save that is
 * repeated after a second or Yoto's first silence at a start. Less where tokens are short-lived.
 */
export function patience({ condition }: Seen, { set }: Snapshot): number {
  const longest = condition === 'running_out' ? 30_000 : 2_000
  return set ? Math.min(longest, lifetime(set) * 0.05) : longest
}
