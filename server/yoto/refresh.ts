import type { Config } from '../config'
import { classify, type Outcome } from './outcome'
import { post } from './request'

/**
 * Sends a refresh token once (RFC 6749 6). Never throws.
 * @param now the wall clock, for a Retry-After that is a date
 */
export async function sendRefresh(config: Config, refreshToken: string, now: () => number): Promise<Outcome> {
  const answer = await post(`${config.authUrl}/oauth/token`, {
    grant_type: 'refresh_token',
    client_id: config.clientId,
    client_secret: config.clientSecret,
    refresh_token: refreshToken,
    audience: config.audience,
  })
  return classify(answer, now())
}
