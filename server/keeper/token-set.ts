import { sha256 } from '../sha256'
import type { IssuedTokens } from '../yoto/outcome'
import type { Clock } from './clock'

/** What Yoto issued, and when. Times in milliseconds since 1970. */
export interface TokenSet {
  readonly accessToken: string
  readonly refreshToken: string
  /** Of the refresh token. */
  readonly fingerprint: string
  /** Fingerprint of the refresh token that the sign-in began with: the same through all rotations. */
  readonly family: string
  /** How many of these there have been: which of two is the later one, whatever clocks say. Undefined: that was lost. */
  readonly rotation?: number
  readonly issuedAt: number
  readonly expiresAt: number
  readonly scope?: string
  /** Whose account it is: the access token's `sub`, where it is a JWT. For display only; never checked. */
  readonly subject?: string
  readonly clientId: string
  /** When it was issued, or read from the store, by the monotonic clock, and how long it had to live then. */
  readonly anchor: { readonly monotonic: number; readonly left: number }
}

/** SHA-256 of a refresh token in hexadecimal: what records and logs use in its place. */
export function fingerprintOf(refreshToken: string): string {
  return sha256(refreshToken)
}

/**
 * Makes the TokenSet of an answer. Expiry counts from the moment the request was sent, as the answer may have been long on its way
 * (rule 12); an answer without a refresh token keeps the old one (rule 9).
 * @param sent both clocks at the moment the request was sent
 */
export function tokenSetFrom(
  tokens: IssuedTokens,
  sent: { wall: number; monotonic: number },
  before: { refreshToken: string; clientId: string; family?: string; rotation?: number },
): TokenSet {
  const refreshToken = tokens.refreshToken ?? before.refreshToken
  const fingerprint = fingerprintOf(refreshToken)
  return {
    accessToken: tokens.accessToken,
    refreshToken,
    fingerprint,
    family: before.family ?? fingerprint,
    rotation: before.family === undefined ? 0 : before.rotation === undefined ? undefined : before.rotation + 1,
    issuedAt: sent.wall,
    expiresAt: sent.wall + tokens.expiresIn,
    scope: tokens.scope,
    subject: subjectOf(tokens.accessToken),
    clientId: before.clientId,
    anchor: { monotonic: sent.monotonic, left: tokens.expiresIn },
  }
}

/** Milliseconds that a set still lives: by whichever clock ends it first, and none if the wall clock stands before its issue. */
export function timeLeft(set: Pick<TokenSet, 'issuedAt' | 'expiresAt' | 'anchor'>, clock: Clock): number {
  const wall = clock.wall()
  if (wall < set.issuedAt) return 0
  return Math.min(set.expiresAt - wall, set.anchor.left - (clock.monotonic() - set.anchor.monotonic))
}

export function lifetime(set: Pick<TokenSet, 'issuedAt' | 'expiresAt'>): number {
  return set.expiresAt - set.issuedAt
}

/**
 * Milliseconds that a token must have left to be handed out while a refresh can be had (rule 1). Of short-lived ones a little more, as
 * servers count in whole seconds: a token of 4 s may end after 3.
 */
export function margin(set: TokenSet): number {
  return Math.max(Math.min(60_000, lifetime(set) * 0.1), Math.min(1_500, lifetime(set) * 0.3))
}

/** Milliseconds of life that are left when it is time to refresh ahead (rule 2). */
export function refreshAheadAt(set: TokenSet, refreshInterval: number): number {
  return lifetime(set) - Math.min(refreshInterval, lifetime(set) * 0.75)
}

/** The `sub` of a JWT, unverified: it is Yoto's API that checks the token. */
function subjectOf(accessToken: string): string | undefined {
  const payload = accessToken.split('.')[1]
  if (!payload) return undefined
  try {
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, '+').replace(/_/g, '/')), (char) => char.charCodeAt(0))
    const { sub } = JSON.parse(new TextDecoder().decode(bytes))
    return typeof sub === 'string' ? sub.slice(0, 200) : undefined
  } catch {
    return undefined
  }
}
