import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { Readable } from 'node:stream'
import { KeeperError } from '../errors'
import { noAnswer } from './call'

export interface ApiCall {
  method: string
  url: string
  headers: OutgoingHttpHeaders
  body?: Readable
  /** The caller has gone away. */
  signal: AbortSignal
}

/** Milliseconds. */
export interface Limits {
  /** Until there is a connection, TLS included. */
  connect: number
  /** While it is Yoto's turn and nothing moves. A caller that is slow to send or to read is waited for. */
  silence: number
}

const LIMITS: Limits = { connect: 10_000, silence: 60_000 }

const AGENTS = { 'http:': HttpAgent, 'https:': HttpsAgent }
const shared = { 'http:': newAgent('http:'), 'https:': newAgent('https:') }

/** Keeps connections: a server that is told to close may do so while an upload is still coming, and its answer is lost. */
function newAgent(protocol: 'http:' | 'https:'): HttpAgent {
  return new AGENTS[protocol]({ keepAlive: true })
}

/**
 * Sends a call to Yoto's API and gives back the answer as soon as its head is there. Nothing is buffered: with `fetch` an upload that
 * may be redirected is kept in memory whole, what is compressed is unpacked, and redirects of uploads cannot be seen.
 * @throws KeeperError `yoto_unreachable`: nothing was sent; `yoto_timeout`, `yoto_error`: it may have been carried out
 */
export async function sendToApi(call: ApiCall, limits = LIMITS): Promise<IncomingMessage> {
  const mayRepeat = isRepeatable(call)
  try {
    // A kept connection may be closed from the other side just as it is used again.
    return await attempt(call, limits, mayRepeat).catch((error) => {
      if (mayRepeat && ['ECONNRESET', 'EPIPE'].includes(error.code)) return attempt(call, limits, false)
      throw error
    })
  } catch (error) {
    throw error instanceof KeeperError ? error : noAnswer((error as NodeJS.ErrnoException).code)
  }
}

/** RFC 9110 9.2.2: whatever came of the first attempt, a second does no harm. */
function isRepeatable({ method, body }: ApiCall): boolean {
  return !body && ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'].includes(method)
}

/** @throws KeeperError for what a limit has ended, and Node's own errors */
function attempt(call: ApiCall, limits: Limits, mayReuse: boolean): Promise<IncomingMessage> {
  const { method, url, body, signal } = call
  // For some methods Node would send a body of unknown length without its ends.
  const chunked = body && call.headers['content-length'] === undefined && { 'transfer-encoding': 'chunked' }
  const headers = { ...call.headers, ...chunked }
  const protocol = url.startsWith('https:') ? 'https:' : 'http:'
  const send = protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise((resolve, reject) => {
    const agent = mayReuse ? shared[protocol] : newAgent(protocol)
    const path = url.replace(/^https?:\/\/[^/]*/, '') // as it is: Node would drop the "?" of an empty query
    const outgoing = send(url, { method, path, headers, signal, agent, timeout: limits.silence })
    let response: IncomingMessage | undefined

    const connecting = setTimeout(() => {
      const message = `No connection to Yoto within ${limits.connect / 1000} s.`
      outgoing.destroy(new KeeperError('yoto_unreachable', message))
    }, limits.connect)
    outgoing.once('socket', (socket) => {
      const connected = () => clearTimeout(connecting)
      if (outgoing.reusedSocket) connected()
      else socket.once(protocol === 'https:' ? 'secureConnect' : 'connect', connected)

      // Node passes these on until the answer is complete (lib/_http_client.js): an upload that takes longer would stand still.
      const goOn = () => void outgoing.emit('drain')
      let wasCallersTurn = false
      const giveUp = () => {
        const mayRead = response && response.readableLength > 0
        const maySend = (!response || response.complete) && body && !body.readableEnded && socket.writableLength === 0
        const isCallersTurn = Boolean(mayRead || maySend)
        // Whose turn only just came has not been silent for long.
        if (isCallersTurn || wasCallersTurn) socket.setTimeout(limits.silence)
        else outgoing.destroy(new KeeperError('yoto_timeout', `Nothing came from Yoto for ${limits.silence / 1000} s.`))
        wasCallersTurn = isCallersTurn
      }
      socket.on('drain', goOn).on('timeout', giveUp)
      outgoing.once('close', () => socket.off('drain', goOn).off('timeout', giveUp))
    })
    outgoing.once('response', (answer) => {
      response = answer
      resolve(answer)
      if (!body || (answer.statusCode ?? 0) < 400) return
      skip(body) // a refusal: the rest is not wanted (RFC 9112 9.5)
      answer.once('end', () => outgoing.destroy())
    })
    outgoing.on('error', reject)
    outgoing.once('close', () => {
      clearTimeout(connecting)
      if (!mayReuse) agent.destroy()
      if (body) skip(body) // nobody reads the rest, and the caller may still be sending it
    })

    if (body) body.pipe(outgoing)
    else outgoing.end()
  })
}

/** In this order: the end of its last pipe makes a stream pause. */
function skip(body: Readable): void {
  body.unpipe()
  body.resume()
}
