import type { Check, Finding } from '../../storage'
import type { Config } from '../config'
import type { Keeper, Snapshot } from '../keeper/keeper'
import { standingOf } from '../status/standing'
import { unknownScopes } from '../yoto/scopes'

/** How the sign-in stands, as `/api/auth/status` says it. */
export function signInChecks(config: Config, keeper: Keeper): Check[] {
  return [
    { name: 'sign_in', look: async () => signIn(config, await snapshotOf(keeper)) },
    { name: 'scope', look: async () => scope(config, await snapshotOf(keeper)) },
  ]
}

/** Another instance may have signed in; to look for that refreshes nothing. */
async function snapshotOf(keeper: Keeper): Promise<Snapshot> {
  await keeper.seek()
  return keeper.snapshot()
}

function signIn(config: Config, now: Snapshot): Finding {
  const { state, problem, message, hint } = standingOf(config, now)
  // That files do not last is for `volume` to say.
  if (state === 'signed_in' && (problem === undefined || problem === 'not_durable')) return { ok: true, message }
  return { ok: false, message, hint: hint ?? mendOf(config, state, problem) }
}

function mendOf({ publicUrls }: Config, state: string, problem: string | undefined): string {
  if (state !== 'signed_in') return `Open ${publicUrls[0] ?? 'the page'} and press "Sign in to Yoto".`
  if (problem === 'yoto_unreachable') return 'It is tried again by itself; see the checks yoto_login and yoto_api.'
  return 'Look at the log: `railway logs`, or where the service was started.'
}

function scope(config: Config, { kept, set }: Snapshot): Finding {
  const unknown = unknownScopes(config.scope)
  if (unknown.length > 0) {
    return {
      ok: false,
      message: `YOTO_SCOPE asks for what Yoto does not list: ${unknown.join(' ')}.`,
      hint: 'Mend it in YOTO_SCOPE and restart; the scopes are listed in the README and at https://yoto.dev.',
    }
  }
  // RFC 6749, section 5.1: no scope in the answer means the one that was asked for.
  const granted = (kept && set?.scope) || undefined
  if (granted === undefined) return { ok: true, message: `Asked for is: ${config.scope}.` }
  const all = granted.split(' ')
  const missing = config.scope.split(' ').filter((one) => !all.includes(one))
  if (missing.length === 0) return { ok: true, message: `Yoto has granted what was asked for: ${config.scope}.` }
  const lost = missing.includes('offline_access') ? ' Without offline_access nobody stays signed in.' : ''
  return {
    ok: false,
    message: `Yoto has not granted all that YOTO_SCOPE asks for: ${missing.join(' ')} is missing.${lost}`,
    hint: 'Choose it for the app in the dashboard at https://yoto.dev, or take it out of YOTO_SCOPE; then sign in again.',
  }
}
