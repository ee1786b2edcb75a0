import { eventHandler, getHeader, sendNoContent, setResponseHeaders } from 'h3'
import Negotiator from 'negotiator'
import { hex } from '../hex'

interface Prepared {
  etag: string
  plain: string
  /** Undefined where the runtime cannot compress. */
  gzip?: Uint8Array
}

/**
 * A route that answers with one text, the same for everybody: compressed where the caller takes that, and a 304 where it has the text
 * already. Prepared at the first request, as a Worker may do nothing before it.
 */
export function staticText(text: string, type: string) {
  let prepared: Promise<Prepared> | undefined
  return eventHandler(async (event) => {
    prepared ??= prepare(text)
    const { etag, plain, gzip } = await prepared
    setResponseHeaders(event, {
      'content-type': `${type}; charset=utf-8`,
      'cache-control': 'no-cache',
      vary: 'accept-encoding',
      etag,
    })
    if (has(etag, getHeader(event, 'if-none-match'))) return sendNoContent(event, 304)
    if (!gzip || !takesGzip(getHeader(event, 'accept-encoding'))) return plain
    setResponseHeaders(event, { 'content-encoding': 'gzip' })
    return gzip
  })
}

async function prepare(plain: string): Promise<Prepared> {
  const bytes = new TextEncoder().encode(plain)
  const hash = await crypto.subtle.digest('SHA-256', bytes)
  // Weak: one for both encodings of the text.
  return { etag: `W/"${hex(hash).slice(0, 24)}"`, plain, gzip: await compress(bytes) }
}

/** By what all runtimes have but older ones of Bun. */
async function compress(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array | undefined> {
  if (typeof CompressionStream === 'undefined') return undefined
  const compressed = new Blob([bytes]).stream().pipeThrough(new CompressionStream('gzip'))
  return new Uint8Array(await new Response(compressed).arrayBuffer())
}

/** RFC 9110 13.1.2: any of the caller's may match, and weakly. */
function has(etag: string, ifNoneMatch = ''): boolean {
  const given = ifNoneMatch.split(',').map((one) => one.trim().replace(/^W\//, ''))
  return given.includes(etag.replace(/^W\//, '')) || given.includes('*')
}

function takesGzip(accepted = ''): boolean {
  return new Negotiator({ headers: { 'accept-encoding': accepted } }).encoding(['gzip', 'identity']) === 'gzip'
}
