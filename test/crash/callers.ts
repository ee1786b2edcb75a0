import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect, type Socket } from 'node:net'

/** A process of its own that calls several services at once from very many callers, as told by messages. */

export interface Order {
  urls: string[]
  /** At each of them, each on a connection of its own. */
  callers: number
  method: 'GET' | 'POST'
  path: string
  key: string
}

export type Message = 'fire' | Order

export type Report =
  /** Every connection stands. */
  | { now: 'connected' }
  /** Every request has left. */
  | { now: 'sent' }
  /** How often which answer came: `<status> <access token>`, or what went wrong. */
  | { now: 'answered'; answers: Record<string, number> }

let fire = () => {}

process.on('message', async (message: Message) => {
  if (message === 'fire') return fire()
  const { urls, callers, method, path, key } = message
  // A connection that has carried nothing yet is closed by nobody for a minute; one that idles after a request, within 5 s.
  const seats = await Promise.all(urls.flatMap((url) => Array.from({ length: callers }, () => takeSeat(url))))
  const fired = new Promise<void>((resolve) => {
    fire = resolve
  })
  report({ now: 'connected' })
  await fired
  let sent = 0
  const onSent = () => {
    if (++sent === seats.length) report({ now: 'sent' })
  }
  const headers = { authorization: `Bearer ${key}`, connection: 'close' }
  const call = ({ url, socket }: Seat) =>
    new Promise<string>((resolve) => {
      const options = { method, headers, createConnection: () => socket }
      const outgoing = request(url + path, options, (answer) => read(answer).then(resolve, resolve))
      outgoing.on('finish', onSent).on('error', (error) => resolve(error.message))
      outgoing.end()
    })
  const all = await Promise.all(seats.map(call))
  const answers: Record<string, number> = {}
  for (const answer of all) answers[answer] = (answers[answer] ?? 0) + 1
  report({ now: 'answered', answers })
})

interface Seat {
  url: string
  socket: Socket
}

async function takeSeat(url: string): Promise<Seat> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  return { url, socket }
}

async function read(answer: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) text += chunk
  const { access_token = '' } = JSON.parse(text) as { access_token?: string }
  return `${answer.statusCode} ${access_token}`.trim()
}

function report(what: Report): void {
  process.send?.(what)
}
