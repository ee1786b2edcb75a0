import { KeeperError } from '../errors'

const MOUNTED_AT = '/api/yoto'

/**
 * Where a call goes: what stands behind `/api/yoto`, byte for byte, at Yoto's API. Only where no URL parser on the way would change
 * it, or the call could end elsewhere than it was meant and checked for.
 * @param requestTarget as in the request line (RFC 9112 3.2)
 * @throws KeeperError `bad_request`, `not_found`
 */
export function targetOf(requestTarget: string, apiUrl: string): string {
  // The router knows other spellings of our own path too; they are nobody's business.
  if (!requestTarget.startsWith(`${MOUNTED_AT}/`)) throw new KeeperError('not_found', 'There is nothing at this path.')
  const rest = requestTarget.slice(MOUNTED_AT.length)
  if (rest.includes('#') || !isNormal(rest)) {
    throw new KeeperError('bad_request', 'The path or query cannot be passed on as it is.', {
      hint: 'Send no "." or ".." segments, and percent-encode backslashes and all else that may not stand in a URL (RFC 3986).',
    })
  }
  return apiUrl + rest
}

function isNormal(pathAndQuery: string): boolean {
  const url = `http://host${pathAndQuery}`
  return new URL(url).href === url
}
