import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { chownSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { waitUntil } from './wait-until'

/** The production build as a process of its own, as a platform would start it, with nothing of the test's environment. */

export const BUILT_SERVER = fileURLToPath(new URL('../../.output/server/index.mjs', import.meta.url))
const DEFAULT_KEY = 'test-keeper-key-0123456789'

export interface KeeperOptions {
  /** By default a fresh folder, removed when the test process ends. */
  cwd?: string
  /** Nothing else is inherited but PATH and HOME. An empty KEEPER_KEY counts as none; PORT is found when not given. */
  env?: Record<string, string>
  /** By default Node. */
  command?: string
  /** The command's own arguments, which stand before the entry. */
  args?: string[]
  entry?: string
  uid?: number
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface Keeper {
  url: string
  cwd: string
  key: string
  pid: number
  /** What was written to stdout and stderr so far. */
  log(): string
  /** With the keeper key, unless `init` has an Authorization header of its own. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  json<T = Record<string, unknown>>(
    path: string,
    init?: RequestInit,
  ): Promise<{ status: number; body: T; headers: Headers }>
  kill(signal?: NodeJS.Signals): Promise<Exit>
  /** SIGTERM, and SIGKILL after 15 s. */
  stop(): Promise<Exit>
  exited: Promise<Exit>
}

export async function startKeeper(options: KeeperOptions = {}): Promise<Keeper> {
  const { env = {}, command = process.execPath, args = [], entry = BUILT_SERVER, uid } = options
  const cwd = options.cwd ?? temporaryFolder(uid)
  const port = env.PORT ?? String(await freePort())
  const key = env.KEEPER_KEY ?? DEFAULT_KEY
  const { PATH = '', HOME = '' } = process.env

  const child = spawn(command, [...args, entry], {
    cwd,
    uid,
    env: { PATH, HOME, HOST: '127.0.0.1', ...env, PORT: port, KEEPER_KEY: key },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (log += text))
  const exited = remember(child)
  await once(child, 'spawn')

  const url = `http://127.0.0.1:${port}`
  const request = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers)
    if (key && !headers.has('authorization')) headers.set('authorization', `Bearer ${key}`)
    return fetch(url + path, { ...init, headers }).catch(async (error) => {
      const ended = await Promise.race([exited, sleep(100)]) // told after the end of its connections
      if (!ended) throw error
      throw new Error(`the service has ended (${ended.signal ?? ended.code}); its log:\n${log}`, { cause: error })
    })
  }
  const kill = (signal: NodeJS.Signals = 'SIGKILL') => {
    child.kill(signal)
    return exited
  }
  const isHealthy = async () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error('the service ended before it was healthy')
    const answer = await fetch(`${url}/api/health`, { signal: AbortSignal.timeout(1000) }).catch(() => undefined)
    await answer?.body?.cancel()
    return answer?.status === 200
  }
  try {
    await waitUntil(isHealthy, { what: 'the service answered /api/health' })
  } catch (error) {
    await kill()
    throw new Error(`${(error as Error).message}; its log:\n${log}`)
  }

  return {
    url,
    cwd,
    key,
    pid: child.pid as number,
    log: () => log,
    fetch: request,
    json: async <T>(path: string, init?: RequestInit) => {
      const response = await request(path, init)
      const text = await response.text()
      return { status: response.status, body: (text ? JSON.parse(text) : undefined) as T, headers: response.headers }
    },
    kill,
    stop: async () => {
      const impatience = setTimeout(() => child.kill('SIGKILL'), 15_000)
      const exit = await kill('SIGTERM')
      clearTimeout(impatience)
      return exit
    },
    exited,
  }
}

/** Ports of one of Vitest's workers; each has some of its own, as two that look at the same moment would both find the same one free. */
const PORTS = 2_500
const firstPort = 12_000 + (Number(process.env.VITEST_POOL_ID ?? 0) % 8) * PORTS
let portsGiven = randomInt(PORTS)

/**
 * A port that nobody listens on now; the service is told its port rather than asked for it. Below the range that the kernel takes
 * outgoing connections' ports from, or one of those might have it by the time the service listens.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = firstPort + (portsGiven++ % PORTS)
    const server = createServer().listen(port, '127.0.0.1')
    const listens = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    if (!listens) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

const running = new Set<ChildProcess>()
const folders = new Set<string>()

/** No child and no folder outlives the process that made it, however a test ends. */
function cleanUp() {
  for (const child of running) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
}
process.on('exit', cleanUp)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    cleanUp()
    process.kill(process.pid, signal)
  })
}

/** Resolves when the child is gone and everything it wrote has been read. */
function remember(child: ChildProcess): Promise<Exit> {
  running.add(child)
  return new Promise((resolve) => {
    child.once('close', (code, signal) => {
      running.delete(child)
      resolve({ code, signal })
    })
  })
}

function temporaryFolder(owner?: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'keeper-'))
  folders.add(folder)
  if (owner !== undefined) chownSync(folder, owner, owner)
  return folder
}
