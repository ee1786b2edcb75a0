import { isLoopbackName } from '../access/guard'
import type { Config } from '../config'

/**
 * Where Yoto sends the browser back to (RFC 6749 3.1.2); registered there to the letter. Of the request's Host only a name that is ours
 * counts.
 * @returns undefined where no address of ours is known
 */
export function redirectUri({ publicUrls }: Pick<Config, 'publicUrls'>, host = ''): string | undefined {
  const name = host.toLowerCase()
  const own = publicUrls.find((url) => new URL(url).host === name)
  const origin = own ?? (isLoopbackName(name) ? `http://${name}` : publicUrls[0])
  return origin && `${origin}/api/auth/callback`
}
