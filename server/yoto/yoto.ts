import type { Config } from '../config'
import type { Outcome } from './outcome'
import { sendRefresh } from './refresh'
import { revoke } from './revoke'

/** What the keeper asks of Yoto's authorization server. Neither throws. */
export interface Yoto {
  /** Sends a refresh token once (RFC 6749 6). */
  refresh(refreshToken: string): Promise<Outcome>
  /** Ends a refresh token and its family (RFC 7009); whether Yoto confirmed it. */
  revoke(refreshToken: string): Promise<boolean>
}

/** The authorization server that the configuration names. */
export function yotoOf(config: Config, now: () => number): Yoto {
  return {
    refresh: (token) => sendRefresh(config, token, now),
    revoke: (token) => revoke(config, token),
  }
}
