import * as v from 'valibot'
import type { Answer } from './request'
import { describeIssues, ErrorAnswer, TokenAnswer } from './schemas'

/** What Yoto issued, as it came. `expiresIn` in milliseconds. */
export interface IssuedTokens {
  accessToken: string
  refreshToken?: string
  expiresIn: number
  scope?: string
}

/**
 * The six meanings that an answer of the token endpoint can have.
 * - `tokens`: issued
 * - `refused`: this grant is over; sending it again is of no use (RFC 6749 5.2, invalid_grant)
 * - `misconfigured`: no answer about the grant but about the client, the request or the way there
 * - `not_now`: wait `retryAfter` milliseconds
 * - `not_sent`: nothing has changed at Yoto
 * - `unknown`: Yoto may have rotated the token, and the answer was lost
 */
export type Outcome =
  | { meaning: 'tokens'; tokens: IssuedTokens }
  | { meaning: 'refused'; error: string; message: string }
  | { meaning: 'misconfigured'; error?: string; message: string; hint: string }
  | { meaning: 'not_now'; retryAfter: number; message: string }
  | { meaning: 'not_sent'; message: string }
  | { meaning: 'unknown'; code: 'yoto_timeout' | 'yoto_unreachable' | 'yoto_error'; message: string }

/** Milliseconds; a longer Retry-After is not believed, as the sign-in would run out over it. */
const LONGEST_WAIT = 3_600_000
const WAIT_WITHOUT_A_WORD = 60_000
/** Milliseconds; a longer life than a year is not believed, and would not fit into a date. */
const LONGEST_LIFE = 365 * 86_400_000

/**
 * Classifies an answer of the token endpoint. The `error` field decides where there is one, and not the status: Auth0 sends 403 and
 * 429 where RFC 6749 has 400.
 * @param now wall clock in milliseconds, for a Retry-After that is a date
 */
export function classify(answer: Answer, now: number): Outcome {
  if (answer.kind === 'not_sent') {
    return { meaning: 'not_sent', message: `Yoto cannot be reached (${answer.reason}).` }
  }
  if (answer.kind === 'lost') {
    const code = answer.timeout ? 'yoto_timeout' : 'yoto_unreachable'
    return { meaning: 'unknown', code, message: `Yoto's answer was lost (${answer.reason}).` }
  }
  const { status } = answer
  const body = parseJson(answer.text)
  if (status >= 200 && status < 300) {
    const parsed = v.safeParse(TokenAnswer, body)
    if (!parsed.success) return unknown(`Yoto's answer cannot be read (${describeIssues(parsed.issues)}).`)
    const { access_token, refresh_token, expires_in, scope } = parsed.output
    return {
      meaning: 'tokens',
      tokens: {
        accessToken: access_token,
        refreshToken: refresh_token ?? undefined,
        expiresIn: Math.min(expires_in * 1000, LONGEST_LIFE),
        scope,
      },
    }
  }
  const { error, description } = oauthError(body)
  const message = `Yoto answered ${status}${error ? ` ${error}` : ''}${description ? `: ${description}` : '.'}`
  if (error === 'invalid_grant') return { meaning: 'refused', error, message }
  if (status === 429 || (status === 503 && answer.retryAfter !== undefined)) {
    return { meaning: 'not_now', retryAfter: readRetryAfter(answer.retryAfter, now), message }
  }
  if (status >= 400 && status < 500) {
    return { meaning: 'misconfigured', error, message, hint: mendOf(error) }
  }
  return unknown(message)
}

/** The `error` and `error_description` of an answer (RFC 6749 5.2), shortened to what can be shown. */
export function oauthError(body: unknown): { error?: string; description?: string } {
  const parsed = v.safeParse(ErrorAnswer, body)
  if (!parsed.success) return {}
  return {
    error: printable(parsed.output.error, 60),
    description: printable(parsed.output.error_description ?? '', 300),
  }
}

/** JSON.parse without the throw: undefined for what is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** RFC 9110 10.2.3: seconds or a date. Milliseconds from `now`. */
function readRetryAfter(header: string | undefined, now: number): number {
  if (header === undefined) return WAIT_WITHOUT_A_WORD
  const isDate = /^[A-Z]/i.test(header.trim()) // Date.parse finds dates in numbers too
  const wait = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : isDate ? Date.parse(header) - now : Number.NaN
  if (Number.isNaN(wait)) return WAIT_WITHOUT_A_WORD
  return Math.min(Math.max(wait, 1_000), LONGEST_WAIT)
}

/** What the owner can do about it. */
export function mendOf(error: string | undefined): string {
  switch (error) {
    case 'invalid_client':
      return 'Check YOTO_CLIENT_ID and YOTO_CLIENT_SECRET against the dashboard at yoto.dev.'
    case 'unauthorized_client':
      return 'Allow the grant types "Device Code" and "Refresh Token" for this client in the dashboard at yoto.dev.'
    case 'invalid_scope':
    case 'access_denied':
      return 'Ask in YOTO_SCOPE only for scopes that are chosen for this client in the dashboard at yoto.dev.'
    default:
      return 'Check YOTO_CLIENT_ID, YOTO_SCOPE and YOTO_AUTH_URL, and that nothing between here and Yoto blocks the request.'
  }
}

function unknown(message: string): Outcome {
  return { meaning: 'unknown', code: 'yoto_error', message }
}

function printable(text: string, length: number): string {
  return text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, length)
}
