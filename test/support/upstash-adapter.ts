import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Redis } from 'ioredis'
import type { Lease } from '../../storage'
import { openUpstash } from '../../storage/upstash'

/** Upstash's REST API in front of a real Redis, as far as single commands go (upstash.com/docs/redis/features/restapi). */
export interface UpstashAdapter {
  url: string
  token: string
  /** Commands that have arrived. */
  count: number
  /** Answers in its place, until it is set to undefined. */
  instead?: (request: IncomingMessage, response: ServerResponse) => unknown
  stop(): Promise<void>
}

export async function startUpstashAdapter(redisUrl: string): Promise<UpstashAdapter> {
  const redis = new Redis(redisUrl, { maxRetriesPerRequest: 0, retryStrategy: () => 100 })
  redis.on('error', () => {})
  const server = createServer(async (request, response) => {
    const answer = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    adapter.count++
    if (adapter.instead) return adapter.instead(request, response)
    if (request.headers.authorization !== `Bearer ${adapter.token}`) {
      return answer(401, { error: 'WRONGPASS invalid or missing auth token' })
    }
    if (request.method !== 'POST' || request.url !== '/') return answer(404, { error: 'ERR not a command' })
    const [name, ...args] = JSON.parse(body)
    await redis.call(name, ...args).then(
      (result) => answer(200, { result }),
      (error) => answer(error.name === 'ReplyError' ? 400 : 502, { error: error.message }),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const adapter: UpstashAdapter = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: 'adapter-token-that-nobody-may-see',
    count: 0,
    stop: () =>
      new Promise((resolve) => {
        redis.disconnect()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return adapter
}

/** For lease-child.ts. */
export function leaseOver(url: string, token: string, environment: string, name: string): Lease {
  return openUpstash({ url, token }, environment).lease(name)
}
