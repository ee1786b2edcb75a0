import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { freePort } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

// `npm run dev`: open without a key, but to this machine only.

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'dev-'))
let port: string
let stop: () => Promise<void>

beforeAll(async () => {
  port = String(await freePort())
  const { PATH = '', HOME = '' } = process.env
  const arguments_ = ['node_modules/nitropack/dist/cli/index.mjs', 'dev', '--host', '127.0.0.1', '--port', port]
  // A group of its own: the command leaves its child running when it is ended alone.
  const child = spawn(process.execPath, arguments_, {
    cwd: root,
    env: { PATH, HOME, DATA_DIR: folder },
    stdio: 'ignore',
    detached: true,
  })
  stop = async () => {
    if (child.pid && child.exitCode === null) {
      process.kill(-child.pid, 'SIGKILL')
      await once(child, 'exit')
    }
  }
  process.on('exit', () => child.pid && child.exitCode === null && process.kill(-child.pid, 'SIGKILL'))
  await waitUntil(
    async () => (await fetch(`http://127.0.0.1:${port}/api/health`).catch(() => undefined))?.status === 200,
    {
      what: 'the development server answered',
      timeout: 45_000,
    },
  )
})

afterAll(async () => {
  await stop?.()
  rmSync(folder, { recursive: true })
})

/** fetch() does not let a Host be set. */
async function get(path: string, headers: Record<string, string>): Promise<number | undefined> {
  const sent = request({ host: '127.0.0.1', port, path, headers }).end()
  const [response] = await once(sent, 'response')
  response.resume()
  return response.statusCode
}

it('needs no key on this machine', async () => {
  expect(await get('/api/auth/status', { host: `localhost:${port}` })).toBe(200)
  expect(await get('/', { host: `127.0.0.1:${port}` })).toBe(200)
})

it.each([
  ['a foreign host name', { host: 'evil.example' }],
  ['a foreign origin', { host: 'localhost', origin: 'https://evil.example' }],
  ['a page of another site', { host: 'localhost', 'sec-fetch-site': 'cross-site' }],
])('refuses %s', async (_, headers) => {
  expect(await get('/api/auth/status', headers)).toBe(403)
})

it('believes the socket, not a header, about where a caller is', async () => {
  expect(await get('/api/auth/status', { host: 'localhost', 'x-dev-peer': '192.0.2.7' })).toBe(200)
})
