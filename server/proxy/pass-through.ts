import type { IncomingMessage, ServerResponse } from 'node:http'
import { finished, pipeline } from 'node:stream/promises'
import type { Config } from '../config'
import { KeeperError } from '../errors'
import type { Keeper } from '../keeper/keeper'
import { requestHeaders, responseHeaders } from './headers'
import { targetOf } from './target'
import { sendToApi } from './upstream'

/** As in the Fetch standard: they would show the token, or open a way past this service. */
const REFUSED_METHODS = new Set(['CONNECT', 'TRACE', 'TRACK'])

/**
 * Makes the caller's request at Yoto's API with a valid token, and streams the answer back. Redirects are passed on; a 401 refreshes
 * once, and a request without a body is then made again.
 * @throws KeeperError before anything was answered: `bad_request`, what `Keeper.accessToken` throws, `yoto_*`
 */
export async function passThrough(
  request: IncomingMessage,
  response: ServerResponse,
  { config, keeper }: { config: Config; keeper: Keeper },
): Promise<void> {
  const method = request.method ?? 'GET'
  if (REFUSED_METHODS.has(method)) throw new KeeperError('method_not_allowed', 'This method is not passed on.')
  const url = targetOf(request.url ?? '', config.apiUrl)
  const gone = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) gone.abort()
  })

  const body = hasBody(request) ? request : undefined
  const send = (accessToken: string) =>
    sendToApi({ method, url, headers: requestHeaders(request.headers, accessToken), body, signal: gone.signal })

  const set = await keeper.accessToken()
  let answer = await send(set.accessToken)
  if (answer.statusCode === 401) {
    const other = await keeper.renew(set)
    if (other && !body) {
      answer.resume() // read to its end, the connection can be used again
      answer = await send(other.accessToken)
    }
  }

  response.setHeader('content-security-policy', 'sandbox') // were it a page, it would run nothing, and not as this service's own
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage, responseHeaders(answer.headers))
  try {
    await pipeline(answer, response, { end: false })
    // A caller that sends all of an upload before it reads would find the connection closed, and not the refusal.
    if (!request.complete) await finished(request)
    response.end()
  } catch {
    response.destroy() // one side has gone away: the other is not to take for whole what it has got
  }
}

/** RFC 9112 6. */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}
