import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { KEY } from './scene'

/** Very many callers at once, in a process of its own: bare connections, as an HTTP client would cost more than what is measured. */

export interface Call {
  ports: number[]
  callers: number
}

const REQUEST = `GET /api/token HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${KEY}\r\nconnection: close\r\n\r\n`

let sockets: Socket[] = []

process.on('disconnect', () => process.exit())
process.on('message', async (message: 'fire' | Call) => {
  if (message !== 'fire') {
    sockets = await connectAll(message)
    return process.send?.('connected')
  }
  const times = await Promise.all(sockets.map(call))
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

/** Milliseconds until the answer was whole. */
async function call(socket: Socket): Promise<number> {
  const began = performance.now()
  let answer = ''
  socket.on('data', (data) => {
    answer += data
  })
  socket.write(REQUEST)
  await once(socket, 'close')
  if (!answer.startsWith('HTTP/1.1 200')) throw new Error(answer.slice(0, 200) || 'the connection was closed')
  return performance.now() - began
}
