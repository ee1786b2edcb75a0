import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startStandIn } from '../support/stand-in'

/** Yoto as a process of its own, so that its work is not counted: the authorization server, and an API that answers 1 kB. */

export interface Yoto {
  authUrl: string
  apiUrl: string
  clientId: string
}

export type Question = 'seed' | 'count' | { delay: number }

const standIn = await startStandIn()
const body = JSON.stringify({ filler: 'x'.repeat(1024 - '{"filler":""}'.length) })
const api = createServer((_, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body)
}).listen(0, '127.0.0.1')
api.keepAliveTimeout = 60_000
await once(api, 'listening')
const apiUrl = `http://127.0.0.1:${(api.address() as AddressInfo).port}`

process.on('disconnect', () => process.exit())
process.on('message', (question: Question) => {
  if (question === 'seed') return process.send?.(standIn.seed())
  if (question === 'count') return process.send?.(standIn.counts.refresh_ok)
  standIn.inject({ kind: 'delay', ms: question.delay })
  process.send?.({})
})
process.send?.({ authUrl: standIn.url, apiUrl, clientId: standIn.clientId } satisfies Yoto)
