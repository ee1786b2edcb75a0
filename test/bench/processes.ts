import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

/** Processes and folders of this run, none of which outlives it. */

const running = new Set<ChildProcess>()
const folders: string[] = []
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1))

export interface Server {
  url: string
  pid: number
  child: ChildProcess
  stop(): Promise<void>
}

export interface Program {
  entry: string
  env?: Record<string, string>
  /** Node's own arguments. */
  args?: string[]
  /** It is sent messages. */
  ipc?: boolean
}

/** Starts a built server as a platform would, with nothing of this process's environment, and returns at once. */
export async function launch({ entry, env = {}, args = [], ipc }: Program): Promise<Server & { port: number }> {
  const port = await freePort()
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(process.execPath, [...args, entry], {
    cwd: temporaryFolder(),
    env: { PATH, HOME, NODE_ENV: 'production', ...env, HOST: '127.0.0.1', PORT: String(port) },
    stdio: ['ignore', 'ignore', 'inherit', ...(ipc ? (['ipc'] as const) : [])],
  })
  running.add(child)
  return { url: `http://127.0.0.1:${port}`, port, pid: child.pid as number, child, stop: () => end(child) }
}

/** As `launch`, and waits until it answers. */
export async function serve(program: Program): Promise<Server> {
  const server = await launch(program)
  const answers = () =>
    fetch(server.url).then(
      (answer) => answer.arrayBuffer(),
      () => undefined,
    )
  await waitUntil(answers, { what: `${program.entry} answered` })
  return server
}

/** A helper written in TypeScript, which is told what to do by messages. */
export function forkHelper(name: string): ChildProcess {
  const child = fork(fileURLToPath(new URL(name, import.meta.url)), { execArgv: ['--import', 'tsx'] })
  child.once('exit', (code) => {
    if (running.has(child)) throw new Error(`${name} ended early with ${code}`)
  })
  running.add(child)
  return child
}

/** Sends a message and waits for the answer. */
export async function ask<Answer>(child: ChildProcess, message: object | string): Promise<Answer> {
  const answered = once(child, 'message')
  child.send(message)
  const [answer] = await answered
  return answer as Answer
}

export async function end(child: ChildProcess): Promise<void> {
  running.delete(child)
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  folders.push(folder)
  return folder
}
