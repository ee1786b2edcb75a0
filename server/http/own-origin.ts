import { isLoopbackName } from '../access/guard'
import type { Config } from '../config'

/**
 * The address that people reach the service at. Of the request's Host only a name that is ours counts.
 * @returns undefined where no address of ours is known
 */
export function ownOrigin({ publicUrls }: Pick<Config, 'publicUrls'>, host = ''): string | undefined {
  const name = host.toLowerCase()
  const own = publicUrls.find((url) => new URL(url).host === name)
  return own ?? (isLoopbackName(name) ? `http://${name}` : publicUrls[0])
}
