import type { Config } from '../config'
import { notConfigured, type Snapshot } from '../keeper/keeper'
import { isUnattended } from '../platform'

/** How it stands with the sign-in. */
export interface Standing {
  authenticated: boolean
  message: string
  state: 'signed_in' | 'signed_out' | 'needs_sign_in' | 'not_configured'
  problem?: 'yoto_unreachable' | 'misconfigured' | 'not_saved' | 'not_durable'
  hint?: string
}

/**
 * What is said of the sign-in at that moment, on the page and in notices.
 * @param warning why what is stored would not last
 */
export function standingOf(config: Config, now: Snapshot, warning?: string): Standing {
  const { kept, timeLeft, refusal, unusable, trouble, notSaved, storage } = now
  const authenticated = timeLeft > 0 && config.clientId !== undefined
  if (!config.clientId) {
    const { message, hint } = notConfigured()
    return { authenticated: false, state: 'not_configured', message, hint }
  }
  if (unusable && kept === undefined) {
    const { message, hint } = unusable
    return { authenticated: false, state: 'needs_sign_in', message, hint }
  }
  if (refusal !== undefined) {
    return {
      authenticated,
      state: 'needs_sign_in',
      message: `Yoto no longer accepts the sign-in: sign in again. (${refusal})`,
    }
  }
  const problem = notSaved ?? storage
  if (!kept) {
    const message = problem ? `Nobody is signed in. ${problem.message}` : 'Nobody is signed in.'
    return { authenticated: false, state: 'signed_out', message, hint: problem?.hint, problem: durability(warning) }
  }
  const state = 'signed_in'
  if (problem) {
    const where = notSaved ? 'The sign-in is in memory only. ' : ''
    return { authenticated, state, problem: 'not_saved', message: `${where}${problem.message}`, hint: problem.hint }
  }
  if (trouble && trouble.kind !== 'storage') {
    const message = authenticated
      ? `Signed in, but the token cannot be renewed now. ${trouble.error.message}`
      : trouble.error.message
    return { authenticated, state, problem: trouble.kind, message, hint: trouble.error.hint }
  }
  return {
    authenticated,
    state,
    message: authenticated
      ? `Signed in to Yoto; the token is renewed ${isUnattended ? 'by itself' : 'when it is asked for'}.`
      : 'Signed in; a new token is being fetched.',
    problem: durability(warning),
  }
}

function durability(warning: string | undefined): 'not_durable' | undefined {
  return warning ? 'not_durable' : undefined
}
