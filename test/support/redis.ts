import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Lease } from '../../storage'
import { openRedis } from '../../storage/redis'
import { freePort } from './keeper-process'
import { waitUntil } from './wait-until'

/** A real redis-server on a loopback port, with a folder of its own. */
export interface RedisServer {
  port: number
  url: string
  /** A client of the test's own. */
  client: Redis
  /** SIGKILL, as a crash; what is not on its disk is lost. */
  kill(): Promise<void>
  /** After `kill`: on the same port and folder. */
  start(): Promise<void>
  signal(signal: NodeJS.Signals): void
  stop(): Promise<void>
}

export interface RedisServerOptions {
  /** More of redis-server's own, such as `--requirepass`. */
  args?: string[]
  password?: string
  /** With an append-only file, flushed at every write. */
  durable?: boolean
  command?: string
}

/**
 * A server that has WAITAOF: of Debian 12 that is Valkey, whose package is in its backports; Redis has it from 7.2 on. Both answer to the
 * same commands, and Valkey 8.0 too early (storage/durability/redis.ts).
 */
export const WITH_WAITAOF = (() => {
  const versionOf = (command: string) => {
    const { stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' })
    return Number(/ v=(\d+\.\d+)/.exec(stdout ?? '')?.[1] ?? 0)
  }
  return versionOf('redis-server') >= 7.2 ? 'redis-server' : 'valkey-server'
})()

const PACKAGES: Record<string, string> = { 'valkey-server': '-t bookworm-backports valkey-server' }

export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const { args = [], password, durable = false, command = 'redis-server' } = options
  const port = await freePort()
  const dir = mkdtempSync(join(tmpdir(), 'redis-'))
  const flags = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '']
  flags.push('--appendonly', durable ? 'yes' : 'no', '--appendfsync', 'always')
  if (password) flags.push('--requirepass', password)
  let child: ChildProcess | undefined

  async function start(): Promise<void> {
    const started = spawn(command, [...flags, ...args], { stdio: 'ignore' })
    await once(started, 'spawn').catch(() => {
      throw new Error(
        `${command} is missing: apt-get update && apt-get install -y ${PACKAGES[command] ?? 'redis-server'}`,
      )
    })
    running.add(started)
    child = started
    await waitUntil(() => answers(port), { what: 'redis-server answered' })
  }

  async function kill(): Promise<void> {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
    running.delete(child)
  }

  await start().catch((error) => {
    rmSync(dir, { recursive: true })
    throw error
  })
  const url = `redis://${password ? `:${password}@` : ''}127.0.0.1:${port}`
  const client = new Redis(url, { retryStrategy: () => 100 })
  client.on('error', () => {})
  return {
    port,
    url,
    client,
    kill,
    start,
    signal: (signal) => child?.kill(signal),
    async stop() {
      client.disconnect()
      await kill()
      rmSync(dir, { recursive: true })
    },
  }
}

/** For lease-child.ts. */
export function leaseIn(url: string, environment: string, name: string): Lease {
  return openRedis(url, environment).lease(name)
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    socket.write('PING\r\n')
    const [answer] = await Promise.race([once(socket, 'data'), once(socket, 'close')])
    return /PONG|NOAUTH/.test(String(answer))
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

const running = new Set<ChildProcess>()

/** No server outlives the process that started it, however a test ends. */
function cleanUp() {
  for (const child of running) child.kill('SIGKILL')
}
process.on('exit', cleanUp)
// keeper-process.ts ends the process then.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, cleanUp)
