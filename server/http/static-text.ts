import { eventHandler, getHeader, sendNoContent, setResponseHeaders } from 'h3'
import { sha256 } from '../sha256'
import { gzip, takesGzip } from './gzip'

interface Prepared {
  etag: string
  plain: string
  packed?: Uint8Array
}

/**
 * A route that answers with one text, the same for everybody: compressed where the caller takes that, and a 304 where it has the text
 * already. Prepared at the first request, as a Worker may do nothing before it.
 */
export function staticText(text: string, type: string) {
  let prepared: Promise<Prepared> | undefined
  return eventHandler(async (event) => {
    prepared ??= prepare(text)
    const { etag, plain, packed } = await prepared
    setResponseHeaders(event, {
      'content-type': `${type}; charset=utf-8`,
      'cache-control': 'no-cache',
      vary: 'accept-encoding',
      etag,
    })
    if (has(etag, getHeader(event, 'if-none-match'))) return sendNoContent(event, 304)
    if (!packed || !takesGzip(event)) return plain
    setResponseHeaders(event, { 'content-encoding': 'gzip' })
    return packed
  })
}

async function prepare(plain: string): Promise<Prepared> {
  // Weak: one for both encodings of the text.
  return { etag: `W/"${sha256(plain).slice(0, 24)}"`, plain, packed: await gzip(plain) }
}

/** RFC 9110 13.1.2: any of the caller's may match, and weakly. */
function has(etag: string, ifNoneMatch = ''): boolean {
  const given = ifNoneMatch.split(',').map((one) => one.trim().replace(/^W\//, ''))
  return given.includes(etag.replace(/^W\//, '')) || given.includes('*')
}
