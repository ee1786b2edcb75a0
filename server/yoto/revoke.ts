import type { Config } from '../config'
import { post } from './request'

/**
 * Revokes a refresh token, and with it its family (RFC 7009; Auth0's /oauth/revoke).
 * @returns whether Yoto confirmed it. Never throws.
 */
export async function revoke(config: Config, refreshToken: string): Promise<boolean> {
  const answer = await post(`${config.authUrl}/oauth/revoke`, {
    client_id: config.clientId,
    client_secret: config.clientSecret,
    token: refreshToken,
    token_type_hint: 'refresh_token',
  })
  return answer.kind === 'answer' && answer.status >= 200 && answer.status < 300
}
