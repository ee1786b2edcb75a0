import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What has arrived at Yoto's API. */
export interface Arrival {
  method: string
  /** The request line's target, as it came. */
  target: string
  headers: IncomingHttpHeaders
  /** Body bytes so far. */
  bytes: number
  sha256?: string
  /** How the request ended. */
  end?: 'whole' | 'broken'
}

export type Handler = (request: IncomingMessage, response: ServerResponse, arrival: Arrival) => unknown

export interface ApiServer {
  url: string
  arrivals: Arrival[]
  /** What every request is answered with; by default 200 and `{}` once the body is there. */
  answer: Handler
  stop(): Promise<void>
}

/** A real HTTP server in the place of Yoto's API, which notes byte for byte what it is sent and answers as a test says. */
export async function startApiServer(): Promise<ApiServer> {
  const server = createServer({ maxHeaderSize: 64 * 1024 }, (request, response) => {
    const { method = '', url = '', headers } = request
    const arrival: Arrival = { method, target: url, headers, bytes: 0 }
    api.arrivals.push(arrival)
    const hash = createHash('sha256')
    request.on('data', (chunk) => {
      arrival.bytes += chunk.length
      hash.update(chunk)
    })
    request.once('close', () => {
      arrival.sha256 = hash.digest('hex')
      arrival.end = request.complete ? 'whole' : 'broken'
    })
    response.on('error', () => {})
    api.answer(request, response, arrival)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const api: ApiServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrivals: [],
    answer: (request, response) => request.once('end', () => response.end('{}')),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return api
}
