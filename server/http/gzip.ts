import { getHeader, type H3Event, setResponseHeaders } from 'h3'
import Negotiator from 'negotiator'
import { hasAlarm } from '../platform'

/** Compressed, or undefined where that is not to be done here. */
export async function gzip(text: string): Promise<Uint8Array | undefined> {
  // Cloudflare compresses what a Worker answers by itself, and what is compressed already once more. Older ones of Bun cannot.
  if (hasAlarm || typeof CompressionStream === 'undefined') return undefined
  const compressed = new Blob([text]).stream().pipeThrough(new CompressionStream('gzip'))
  return new Uint8Array(await new Response(compressed).arrayBuffer())
}

export function takesGzip(event: H3Event): boolean {
  const accepted = getHeader(event, 'accept-encoding') ?? ''
  return new Negotiator({ headers: { 'accept-encoding': accepted } }).encoding(['gzip', 'identity']) === 'gzip'
}

/** An answer in JSON that may be long. Only where no stranger has chosen a part of it: from lengths he could guess the rest (BREACH). */
export async function gzippedJson(event: H3Event, value: unknown): Promise<unknown> {
  const packed = takesGzip(event) ? await gzip(JSON.stringify(value)) : undefined
  setResponseHeaders(event, { vary: 'accept-encoding' })
  if (!packed) return value
  setResponseHeaders(event, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
  return packed
}
