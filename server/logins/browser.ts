import type { Config } from '../config'
import { randomHex } from '../hex'
import type { Clock } from '../keeper/clock'
import type { Journal } from '../keeper/journal'
import type { Keeper } from '../keeper/keeper'
import { fingerprintOf } from '../keeper/token-set'
import { authorizationUrl, exchangeCode } from '../yoto/authorization-code'
import { oauthError } from '../yoto/outcome'
import type { BrowserLogin, Found, PendingLogins } from './pending'

/** Milliseconds that a person has at Yoto. */
export const BROWSER_LOGIN_LIFETIME = 600_000

/** How a sign-in in the browser ends; the page has a sentence for each. */
export type Ending =
  | 'success'
  | 'other_account'
  | 'denied'
  | 'not_allowed'
  | 'wrong_scope'
  | 'expired'
  | 'used'
  | 'unexpected'
  | 'unreachable'
  | 'failed'

const SAID: Partial<Record<Ending, string>> = {
  success: 'Signed in.',
  other_account: 'Signed in, to another account than before.',
}

/** What the browser brings back from Yoto (RFC 6749 4.1.2), and what it had been given to prove itself by. */
export interface WayBack {
  state: string
  secret?: string
  code?: string
  error?: string
  errorDescription?: string
}

export interface BrowserLogins {
  /**
   * Begins a sign-in with authorization code and PKCE.
   * @returns where to send the browser, and the secret that it is to keep
   * @throws KeeperError `not_configured`, `storage_unavailable`, `too_many_requests`
   */
  begin(redirectUri: string): Promise<{ state: string; secret: string; url: string }>
  /** Ends it: one use, by the browser that began it. What is signed in now stays unless this succeeds. */
  finish(wayBack: WayBack): Promise<Ending>
  /** Resolves when what is under way has ended. */
  close(): Promise<void>
}

export function createBrowserLogins(parts: {
  config: Config
  pending: PendingLogins
  keeper: Keeper
  journal: Journal
  clock: Clock
}): BrowserLogins {
  const { config, pending, keeper, journal, clock } = parts
  const underway = new Set<Promise<unknown>>()
  const iso = (time: number) => new Date(time).toISOString()

  /** Whether this browser may use this login; taken out of circulation at once, so that a second try finds it used. */
  async function claim({ state, secret }: WayBack): Promise<Found<BrowserLogin> | Ending> {
    const found = /^[0-9a-f]{32}$/.test(state) ? await pending.read(state) : undefined
    if (!found || !secret) return 'unexpected'
    const { login } = found
    if (login.kind === 'ended') return 'used'
    if (login.kind !== 'browser' || login.browser !== fingerprintOf(secret)) return 'unexpected'
    const unknown = { status: 'error', message: 'It came back, and its end is not known.' } as const
    const raw = await pending.end(state, unknown, found.raw)
    if (raw === undefined) return 'used'
    if (clock.wall() >= Date.parse(login.expires_at)) return 'expired'
    const isSame = login.client_id === config.clientId && login.server === config.authUrl
    return isSame ? { login, raw } : 'unexpected'
  }

  async function finish(wayBack: WayBack): Promise<Ending> {
    const claimed = await claim(wayBack)
    if (typeof claimed === 'string') return claimed // not noted: anybody can send these
    const ending = await conclude(claimed.login, wayBack)
    const status = SAID[ending] ? 'success' : 'error'
    const told = { status, message: SAID[ending] ?? ending } as const
    await pending.end(wayBack.state, told, claimed.raw).catch(() => {}) // it stays used all the same
    return ending
  }

  async function conclude(login: BrowserLogin, wayBack: WayBack): Promise<Ending> {
    const { error, errorDescription: error_description } = wayBack
    if (error !== undefined) return refused(oauthError({ error, error_description }))
    if (!wayBack.code) return note('failed', 'Yoto sent no code.')

    const sent = { wall: clock.wall(), monotonic: clock.monotonic() }
    const { code_verifier: verifier, redirect_uri: redirectUri } = login
    const answer = await exchangeCode(config, { code: wayBack.code, verifier, redirectUri }, clock.wall)
    switch (answer.meaning) {
      case 'tokens': {
        if (!answer.tokens.refreshToken) return note('wrong_scope', 'Yoto issued no refresh token.')
        const { otherAccount } = await keeper.signIn(answer.tokens, sent)
        return note(otherAccount ? 'other_account' : 'success')
      }
      case 'refused': // the code was used or has run out (RFC 6749 5.2)
      case 'expired':
        return note('expired', answer.message)
      case 'denied':
      case 'misconfigured':
        return refused({ error: answer.error, description: answer.message })
      case 'not_now':
      case 'not_sent':
      case 'unknown':
        return note('unreachable', answer.message)
      default:
        return note('failed', 'message' in answer ? answer.message : undefined)
    }
  }

  /** RFC 6749 4.1.2.1 and 5.2. */
  function refused({ error, description }: { error?: string; description?: string }): Ending {
    const words = [error, description].filter(Boolean).join(': ')
    if (error === 'access_denied') return note('denied', words)
    if (error === 'unauthorized_client' || error === 'unsupported_response_type') return note('not_allowed', words)
    if (error === 'invalid_scope') return note('wrong_scope', words)
    return note('failed', words)
  }

  function note(ending: Ending, words?: string): Ending {
    journal.add(
      'sign_in',
      ending,
      [SAID[ending] ?? 'A sign-in in the browser came to nothing.', words].filter(Boolean).join(' '),
    )
    return ending
  }

  return {
    async begin(redirectUri) {
      await pending.requireRoom()
      const state = randomHex(128)
      const secret = randomHex(256)
      const verifier = randomHex(256) // 64 unreserved characters (RFC 7636 4.1)
      const now = clock.wall()
      const login: BrowserLogin = {
        kind: 'browser',
        version: 1,
        client_id: config.clientId ?? '',
        server: config.authUrl,
        code_verifier: verifier,
        redirect_uri: redirectUri,
        browser: fingerprintOf(secret),
        began_at: iso(now),
        expires_at: iso(now + BROWSER_LOGIN_LIFETIME),
      }
      await pending.write(state, login, null)
      journal.add('sign_in', 'begun', 'A sign-in in the browser has begun.')
      return {
        state,
        secret,
        url: authorizationUrl(config, { redirectUri, state, challenge: await challengeOf(verifier) }),
      }
    },

    finish(wayBack) {
      const done = finish(wayBack)
      const settled = done.catch(() => {}).finally(() => underway.delete(settled))
      underway.add(settled)
      return done
    },

    async close() {
      await Promise.all(underway)
    },
  }
}

/** RFC 7636 4.2: the SHA-256, base64url without padding. */
async function challengeOf(verifier: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier))
  return btoa(String.fromCharCode(...new Uint8Array(digest)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}
