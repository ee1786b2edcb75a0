import { once } from 'node:events'
import { createServer as createTcpServer } from 'node:net'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type ApiCall, sendToApi } from '../../server/proxy/node-upstream'
import { type Arrival, type Handler, startApiServer } from '../support/api-server'

// The time limits of a call to Yoto's API, made short: whoever's turn it is counts.

const LIMITS = { connect: 5_000, silence: 500 }
const LONG = 3 * LIMITS.silence

async function send(answer: Handler, call: Partial<ApiCall> = {}) {
  const api = await startApiServer()
  onTestFinished(() => api.stop())
  api.answer = answer
  const { signal } = new AbortController()
  return sendToApi({ method: 'GET', url: `${api.url}/v1`, headers: {}, signal, ...call }, LIMITS)
}

describe('Yoto', () => {
  it('that says nothing is given up', async () => {
    await expect(send(() => {})).rejects.toMatchObject({ code: 'yoto_timeout', status: 504 })
    const body = Readable.from(['x'])
    await expect(send(() => {}, { method: 'POST', body })).rejects.toMatchObject({ code: 'yoto_timeout' })
  })

  it('that takes no more of an upload is given up', async () => {
    const body = Readable.from(Array.from({ length: 50 }, () => Buffer.alloc(1_000_000)))
    const stuck = send((incoming) => incoming.pause(), { method: 'POST', body })
    await expect(stuck).rejects.toMatchObject({ code: 'yoto_timeout' })
  })

  it('that stops in the middle of its answer is given up', async () => {
    const answer = await send((_, response) => response.write('the beginning'))
    await expect(answer.toArray()).rejects.toThrow('aborted')
  })

  it('that is slow, but never silent for long, is waited for', async () => {
    const answer = await send(async (_, response) => {
      for (let n = 0; n < 12; n++) {
        response.write('x')
        await sleep(LIMITS.silence / 4)
      }
      response.end()
    })
    expect((await answer.toArray()).join('')).toBe('x'.repeat(12))
  })

  it('with which no connection can be made is given up', async () => {
    const mute = createTcpServer(() => {}).listen(0, '127.0.0.1') // as TLS would have it, somebody must speak first
    onTestFinished(() => void mute.close())
    await once(mute, 'listening')
    const { port } = mute.address() as { port: number }
    const { signal } = new AbortController()
    const call = { method: 'GET', url: `https://127.0.0.1:${port}/v1`, headers: {}, signal }
    const limits = { connect: 100, silence: 60_000 }
    await expect(sendToApi(call, limits)).rejects.toMatchObject({ code: 'yoto_unreachable', status: 503 })
  })
})

/** A thousand bytes, and then more than any buffer on the way holds. */
async function* inTwoParts(between: () => Promise<unknown>) {
  yield Buffer.alloc(1_000)
  await between()
  for (let n = 0; n < 50; n++) yield Buffer.alloc(100_000)
}

describe('a caller', () => {
  it('that is slow to send is waited for', async () => {
    const slowly = async function* () {
      yield 'one'
      await sleep(LONG)
      yield 'two'
    }
    const answer = await send((incoming, response) => incoming.once('end', () => response.end('{}')), {
      method: 'POST',
      body: Readable.from(slowly()),
    })
    expect(answer.statusCode).toBe(200)
  })

  it('that is slow to read is waited for', async () => {
    const block = Buffer.alloc(1_000_000)
    const answer = await send((_, response) => {
      pipeline(Readable.from(Array.from({ length: 50 }, () => block)), response).catch(() => {})
    })
    let bytes = 0
    const reader = new Writable({
      write(chunk, _, next) {
        const isFirst = bytes === 0
        bytes += chunk.length
        if (isFirst) setTimeout(next, LONG)
        else next()
      },
    })
    await pipeline(answer, reader)
    expect(bytes).toBe(50_000_000)
  })

  it('that is answered before it has sent all is waited for, and the rest arrives', async () => {
    let arrival: Arrival | undefined
    const answer = await send(
      (_, response, noted) => {
        arrival = noted
        response.writeHead(303, { location: '/elsewhere' }).end('there')
      },
      { method: 'POST', body: Readable.from(inTwoParts(() => sleep(LONG))) },
    )
    expect((await answer.toArray()).join('')).toBe('there')
    await expect.poll(() => arrival, { timeout: 10_000 }).toMatchObject({ bytes: 5_001_000, end: 'whole' })
  })

  it.each([
    ['closes the connection', (_, response) => response.writeHead(303, { connection: 'close' }).end('there')],
    ['takes no more', (incoming, response) => response.writeHead(303).end('there') && incoming.pause()],
  ] as [string, Handler][])('has the rest of its upload taken where Yoto answers and %s', async (_, answerEarly) => {
    let goOn = () => {}
    const answered = new Promise<void>((resolve) => (goOn = resolve))
    const body = Readable.from(inTwoParts(() => answered))
    const answer = await send(answerEarly, { method: 'POST', body })
    expect((await answer.toArray()).join('')).toBe('there')
    goOn()
    await expect.poll(() => body.readableEnded, { timeout: 10_000 }).toBe(true)
  })

  it('that goes away ends the call', async () => {
    const gone = new AbortController()
    let broken = false
    const call = send(
      (_, response) => {
        response.once('close', () => (broken = true))
        gone.abort()
      },
      { signal: gone.signal },
    )
    await expect(call).rejects.toThrow()
    await expect.poll(() => broken).toBe(true)
  })
})
