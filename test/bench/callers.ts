import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { KEY } from './scene'

/** Very many callers at once, in a process of its own: bare connections, as an HTTP client would cost more than what is measured. */

export interface Call {
  ports: number[]
  callers: number
}

const REQUEST = `GET /api/token HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${KEY}\r\n\r\n`

let sockets: Socket[] = []

process.on('disconnect', () => process.exit())
process.on('message', async (message: 'fire' | Call) => {
  if (message !== 'fire') {
    sockets = await connectAll(message)
    return process.send?.('connected')
  }
  const times = await Promise.all(sockets.map(call))
  for (const socket of sockets) socket.destroy()
  process.send?.(Math.max(...times))
})

/** A few at a time, as a server's queue of connections that it has not taken yet is short. */
async function connectAll({ ports, callers }: Call): Promise<Socket[]> {
  const connected: Socket[] = []
  while (connected.length < callers) {
    const some = ports.map((port) => connect(port, '127.0.0.1'))
    await Promise.all(some.map((socket) => once(socket, 'connect')))
    connected.push(...some)
  }
  return connected
}

/** Milliseconds until the answer was whole; what closing the connection takes is nobody's wait. */
function call(socket: Socket): Promise<number> {
  const began = performance.now()
  let answer = ''
  return new Promise((resolve, reject) => {
    socket.on('data', (data) => {
      answer += data
      if (isWhole(answer)) resolve(performance.now() - began)
    })
    socket.once('close', () => reject(new Error(answer.slice(0, 200) || 'the connection was closed')))
    socket.write(REQUEST)
  })
}

/** @throws Error if it is not a good one */
function isWhole(answer: string): boolean {
  const [head = '', body] = answer.split('\r\n\r\n')
  if (body === undefined) return false
  if (!head.startsWith('HTTP/1.1 200')) throw new Error(head)
  return body.length >= Number(/^content-length: (\d+)$/im.exec(head)?.[1])
}
