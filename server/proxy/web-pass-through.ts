import { type H3Event, readRawBody, setResponseHeaders, setResponseStatus } from 'h3'
import { KeeperError } from '../errors'
import { causeCode } from '../yoto/request'
import { destination, noAnswer, type Parts, withToken } from './call'
import { requestHeaders, responseHeaders } from './headers'

/** Milliseconds until the head of the answer. */
const TIME_LIMIT = 60_000
/** With any other method h3's readRawBody answers 405. */
const WITH_BODY = ['POST', 'PUT', 'PATCH', 'DELETE']
/** Undone by fetch. */
const UNPACKED = /^(x-)?(gzip|deflate)$|^br$/

/**
 * As node-pass-through.ts, where requests and answers are web streams. Nitro's entries have read the body whole by now; the answer
 * is streamed.
 */
export async function passThrough(event: H3Event, parts: Parts): Promise<ReadableStream | string> {
  const { method } = event
  const url = destination(method, event.node.req.url ?? '', parts)
  const body = await bodyOf(event)
  const send = (accessToken: string) => fetchFromApi(url, { method, headers: headersFor(event, accessToken), body })
  const answer = await withToken(parts, send, {
    statusOf: ({ status }) => status,
    drop: (refusal) => void refusal.body?.cancel().catch(() => {}),
    mayRepeat: !body,
  })

  const headers = responseHeaders(Object.fromEntries(answer.headers))
  if (UNPACKED.test(String(headers['content-encoding']))) {
    delete headers['content-encoding']
    delete headers['content-length']
  }
  setResponseStatus(event, answer.status, answer.statusText)
  setResponseHeaders(event, { ...(headers as Record<string, string>), 'content-security-policy': 'sandbox' })
  return answer.body ?? ''
}

async function bodyOf(event: H3Event): Promise<Uint8Array<ArrayBuffer> | undefined> {
  // Nitro's entry for Cloudflare leaves what comes with other methods than POST, PUT and PATCH unread, and h3 would wait for it.
  const request: Request | undefined = event.context.cloudflare?.request
  if (request?.body && !request.bodyUsed) return new Uint8Array(await request.arrayBuffer())
  const body = WITH_BODY.includes(event.method) ? await readRawBody(event, false) : undefined
  return body && new Uint8Array(body)
}

/** What is compressed would be unpacked on the way, and its length and tag would be wrong. */
function headersFor(event: H3Event, accessToken: string): Record<string, string> {
  const { 'content-length': _, ...headers } = requestHeaders(event.node.req.headers, accessToken)
  return { ...(headers as Record<string, string>), 'accept-encoding': 'identity' }
}

/** @throws KeeperError `yoto_unreachable`: nothing was sent; `yoto_timeout`, `yoto_error`: it may have been carried out */
async function fetchFromApi(url: string, init: RequestInit): Promise<Response> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), TIME_LIMIT)
  try {
    return await fetch(url, { ...init, redirect: 'manual', signal: late.signal })
  } catch (error) {
    if (late.signal.aborted) throw new KeeperError('yoto_timeout', `Nothing came from Yoto for ${TIME_LIMIT / 1000} s.`)
    throw noAnswer(causeCode(error))
  } finally {
    clearTimeout(timer)
  }
}
