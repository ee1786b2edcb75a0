import type { IncomingMessage, ServerResponse } from 'node:http'
import { finished } from 'node:stream/promises'
import { settle } from '../service'
import { destination, type Parts, withToken } from './call'
import { requestHeaders, responseHeaders } from './headers'
import { sendToApi } from './node-upstream'

/**
 * Makes the caller's request at Yoto's API with a valid token, and streams the answer back; redirects are passed on. A request that has
 * no body is made again after a 401.
 * @throws KeeperError before anything was answered: `bad_request`, what `Keeper.accessToken` throws, `yoto_*`
 */
export async function passThrough(request: IncomingMessage, response: ServerResponse, parts: Parts): Promise<void> {
  const method = request.method ?? 'GET'
  const url = destination(method, request.url ?? '', parts)
  const gone = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) gone.abort()
  })

  const body = hasBody(request) ? request : undefined
  const send = (accessToken: string) =>
    sendToApi({ method, url, headers: requestHeaders(request.headers, accessToken), body, signal: gone.signal })
  const answer = await withToken(parts, send, {
    statusOf: ({ statusCode }) => statusCode,
    drop: (refusal) => refusal.resume(), // read to its end, the connection can be used again
    mayRepeat: !body,
  })

  response.setHeader('content-security-policy', 'sandbox') // were it a page, it would run nothing, and not as this service's own
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage, responseHeaders(answer.headers))
  try {
    await passOn(answer, response)
    // A caller that sends all of an upload before it reads would find the connection closed, and not the refusal.
    if (!request.complete) await finished(request)
    await settle()
    response.end()
  } catch {
    response.destroy() // one side has gone away: the other is not to take for whole what it has got
  }
}

/** Not stream.pipeline: the AbortController that it makes for each costs a third of a call. */
function passOn(answer: IncomingMessage, response: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    answer.once('end', resolve).once('error', reject).once('close', reject)
    response.once('close', reject)
    answer.pipe(response, { end: false })
  })
}

/** RFC 9112 6. */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}
