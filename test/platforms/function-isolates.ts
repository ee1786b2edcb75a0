import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Running } from './platform'

export interface FunctionOptions {
  preset: 'vercel' | 'netlify' | 'aws-lambda'
  /** The output's entry. */
  entry: string
  env: Record<string, string>
  cwd: string
  /** How many isolates there are from the beginning. */
  isolates?: number
  /** How many there are at most; a request beyond that waits. */
  most?: number
  /** Requests that an isolate serves at a time. */
  atOnce?: number
}

interface Isolate {
  child: ChildProcess
  port: number
  busy: number
}

/**
 * A function behind HTTP: isolates that are started when they are needed, and frozen as soon as they have answered, so that nothing
 * runs in them between two requests. Of several the one that has rested longest is next.
 */
export async function startFunction(options: FunctionOptions): Promise<Running> {
  const { preset, entry, env, cwd, isolates = 1, most = 8, atOnce = 1 } = options
  const all: Isolate[] = []
  const waiting: (() => void)[] = []
  let starting = 0
  let log = ''

  async function startIsolate(): Promise<Isolate> {
    const child = fork(fileURLToPath(new URL('function-isolate.mjs', import.meta.url)), [preset, entry], {
      cwd,
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
      execArgv: [],
      silent: true,
    })
    running.add(child)
    child.once('exit', () => running.delete(child))
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        log += text
      })
    }
    const told = await Promise.race([once(child, 'message'), once(child, 'exit').then(() => undefined)])
    if (!told) throw new Error(`the function could not be loaded; its log:\n${log}`)
    return { child, port: (told[0] as AddressInfo).port, busy: 0 }
  }

  async function take(): Promise<Isolate> {
    const find = () => all.find(({ busy }) => busy < atOnce)
    for (;;) {
      // A caller that has its answer asks again before the isolate is seen to be free.
      if (!find()) await Promise.race([sleep(50), new Promise<void>((resolve) => waiting.push(resolve))])
      let free = find()
      if (!free && all.length + starting < most) {
        starting++
        free = await startIsolate().finally(() => starting--)
        all.push(free)
      }
      if (free && free.busy < atOnce) {
        free.busy++
        free.child.kill('SIGCONT')
        return free
      }
    }
  }

  function give(isolate: Isolate): void {
    isolate.busy--
    if (isolate.busy === 0) isolate.child.kill('SIGSTOP')
    if (all.includes(isolate)) all.push(...all.splice(all.indexOf(isolate), 1)) // last again
    waiting.shift()?.()
  }

  const server = createServer(async (request, response) => {
    const isolate = await take().catch(() => undefined)
    if (!isolate) return response.writeHead(502).end()
    await passOn(request, response, isolate.port)
    give(isolate)
  })

  async function begin(): Promise<void> {
    all.push(...(await Promise.all(Array.from({ length: isolates }, startIsolate))))
  }

  async function end(): Promise<void> {
    await Promise.all(all.splice(0).map(({ child }) => kill(child)))
  }

  await begin()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    log: () => log,
    async restart() {
      await end()
      await begin()
    },
    async stop() {
      server.close()
      server.closeAllConnections()
      await end()
    },
  }
}

/** Byte for byte, with who calls; resolves when the answer has ended, or the caller is gone. */
function passOn(request: IncomingMessage, response: ServerResponse, port: number): Promise<void> {
  return new Promise((resolve) => {
    const { method, url: path, rawHeaders } = request
    const headers = [...rawHeaders, 'x-peer', request.socket.remoteAddress ?? ''] as unknown as Record<string, string>
    const outgoing = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent: false })
    let answered = false
    outgoing.once('response', (answer) => {
      answered = true
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders)
      answer.once('error', () => response.destroy())
      answer.pipe(response)
    })
    outgoing.on('error', () => {
      if (!answered) response.destroy() // else it may want no more of the request
    })
    outgoing.once('close', () => request.resume())
    response.once('close', () => {
      outgoing.destroy()
      resolve()
    })
    request.pipe(outgoing)
  })
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
