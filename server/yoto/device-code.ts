import * as v from 'valibot'
import type { Config } from '../config'
import { KeeperError } from '../errors'
import { classify, mendOf, type Outcome, oauthError, parseJson } from './outcome'
import { type Answer, post } from './request'
import { DeviceCodeAnswer, describeIssues } from './schemas'

/** What Yoto says when a sign-in by code begins. Durations in milliseconds. */
export interface DeviceCode {
  deviceCode: string
  userCode: string
  verificationUri: string
  verificationUriComplete: string
  expiresIn: number
  interval: number
}

/** What a poll says: the six meanings, and RFC 8628 3.5's own. */
export type PollOutcome =
  | Outcome
  | { meaning: 'pending' }
  | { meaning: 'slow_down' }
  | { meaning: 'expired'; error: string; message: string }
  | { meaning: 'denied'; error: string; message: string }
  /** Tokens were issued, but not in a form that can be used; the code is spent. */
  | { meaning: 'unusable'; error: string; message: string }

/**
 * Begins a sign-in by code (RFC 8628 3.1).
 * @throws KeeperError `yoto_error` when Yoto refuses or its answer cannot be read, `yoto_unreachable`, `yoto_timeout`
 */
export async function requestDeviceCode(config: Config): Promise<DeviceCode> {
  const answer = await post(`${config.authUrl}/oauth/device/code`, {
    client_id: config.clientId,
    client_secret: config.clientSecret,
    scope: config.scope,
    audience: config.audience,
  })
  if (answer.kind === 'not_sent') {
    throw new KeeperError('yoto_unreachable', `Yoto cannot be reached (${answer.reason}).`, {
      hint: 'Try again in a minute.',
    })
  }
  if (answer.kind === 'lost') {
    const code = answer.timeout ? 'yoto_timeout' : 'yoto_unreachable'
    throw new KeeperError(code, `Yoto did not answer (${answer.reason}).`, { hint: 'Try again in a minute.' })
  }
  const body = parseJson(answer.text)
  if (answer.status < 200 || answer.status > 299) {
    const { error, description } = oauthError(body)
    const words = [error, description].filter(Boolean).join(': ') || 'without a reason that can be read'
    throw new KeeperError('yoto_error', `Yoto refused to begin a sign-in (${answer.status} ${words}).`, {
      hint: answer.status >= 500 || answer.status === 429 ? 'Try again in a minute.' : hintFor(error),
    })
  }
  const parsed = v.safeParse(DeviceCodeAnswer, body)
  if (!parsed.success) {
    throw new KeeperError('yoto_error', `Yoto's answer cannot be read (${describeIssues(parsed.issues)}).`, {
      hint: 'Check YOTO_AUTH_URL, and try again in a minute.',
    })
  }
  const a = parsed.output
  return {
    deviceCode: a.device_code,
    userCode: a.user_code,
    verificationUri: a.verification_uri,
    verificationUriComplete: a.verification_uri_complete ?? a.verification_uri,
    expiresIn: a.expires_in * 1000,
    interval: a.interval * 1000,
  }
}

/** Yoto calls this grant deprecated, and may refuse it to new apps; the other one is there too. */
function hintFor(error: string | undefined): string {
  return error === 'unauthorized_client' ? `${mendOf(error)} Or sign in without a code.` : mendOf(error)
}

/**
 * Asks once whether the person has agreed (RFC 8628 3.4). Never throws.
 * @param now the wall clock, for a Retry-After that is a date
 */
export async function pollDeviceCode(config: Config, deviceCode: string, now: () => number): Promise<PollOutcome> {
  const answer = await post(`${config.authUrl}/oauth/token`, {
    grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
    client_id: config.clientId,
    client_secret: config.clientSecret,
    device_code: deviceCode,
    audience: config.audience,
  })
  return classifyPoll(answer, now())
}

/** RFC 8628 3.5's errors, whatever the status; everything else as for any other grant. */
export function classifyPoll(answer: Answer, now: number): PollOutcome {
  const otherwise = classify(answer, now)
  if (answer.kind !== 'answer') return otherwise
  const body = parseJson(answer.text)
  if (answer.status >= 200 && answer.status < 300) {
    const spent = otherwise.meaning === 'unknown' && typeof body === 'object' && body !== null
    return spent ? { meaning: 'unusable', error: 'yoto_error', message: otherwise.message } : otherwise
  }
  const { error, description } = oauthError(body)
  switch (error) {
    case 'authorization_pending':
      return { meaning: 'pending' }
    case 'slow_down':
      return { meaning: 'slow_down' }
    case 'expired_token':
      return { meaning: 'expired', error, message: 'The code has run out.' }
    case 'access_denied':
      return {
        meaning: 'denied',
        error,
        message: `Yoto says that access was denied${description ? `: ${description}` : '.'}`,
      }
    default:
      return otherwise.meaning === 'misconfigured' ? { ...otherwise, hint: hintFor(error) } : otherwise
  }
}
