import type { Config } from '../config'
import { classifyPoll, type PollOutcome } from './device-code'
import { post } from './request'

/**
 * Where a person signs in and agrees (RFC 6749 4.1.1, RFC 7636 4.3). `audience` is Auth0's, as in the device flow.
 * @param request.challenge the SHA-256 of the code verifier, base64url
 */
export function authorizationUrl(
  config: Config,
  request: { redirectUri: string; state: string; challenge: string },
): string {
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: config.clientId ?? '',
    redirect_uri: request.redirectUri,
    scope: config.scope,
    audience: config.audience,
    state: request.state,
    code_challenge: request.challenge,
    code_challenge_method: 'S256',
  })
  return `${config.authUrl}/authorize?${query}`
}

/**
 * Exchanges the code once (RFC 6749 4.1.3, RFC 7636 4.5). Never throws; a code is good for one try.
 * @param now the wall clock, for a Retry-After that is a date
 */
export async function exchangeCode(
  config: Config,
  { code, verifier, redirectUri }: { code: string; verifier: string; redirectUri: string },
  now: () => number,
): Promise<PollOutcome> {
  const answer = await post(`${config.authUrl}/oauth/token`, {
    grant_type: 'authorization_code',
    client_id: config.clientId,
    client_secret: config.clientSecret,
    code,
    code_verifier: verifier,
    redirect_uri: redirectUri,
    audience: config.audience,
  })
  return classifyPoll(answer, now())
}
