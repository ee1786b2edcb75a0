import type { Config } from '../config'
import { ownOrigin } from './own-origin'

/**
 * Where Yoto sends the browser back to (RFC 6749 3.1.2); registered there to the letter.
 * @returns undefined where no address of ours is known
 */
export function redirectUri(config: Pick<Config, 'publicUrls'>, host?: string): string | undefined {
  const origin = ownOrigin(config, host)
  return origin && `${origin}/api/auth/callback`
}
