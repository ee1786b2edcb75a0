import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { place } from '../faults/scene'
import { type ApiServer, startApiServer } from '../support/api-server'
import { freePort } from '../support/keeper-process'
import { type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// `npm run dev`: open without a key, but to this machine only.

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'dev-'))
let port: string
let yoto: StandIn
let api: ApiServer
let stop: () => Promise<void>
let log = ''

beforeAll(async () => {
  port = String(await freePort())
  yoto = await startStandIn()
  api = await startApiServer()
  place(folder, yoto, yoto.seed(), 'valid')
  const { PATH = '', HOME = '' } = process.env
  const arguments_ = ['node_modules/nitropack/dist/cli/index.mjs', 'dev', '--host', '127.0.0.1', '--port', port]
  // A group of its own: the command leaves its child running when it is ended alone.
  const child = spawn(process.execPath, arguments_, {
    cwd: root,
    env: {
      PATH,
      HOME,
      DATA_DIR: folder,
      YOTO_CLIENT_ID: yoto.clientId,
      YOTO_AUTH_URL: yoto.url,
      YOTO_API_URL: api.url,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text) => {
      log += text
    })
  stop = async () => {
    if (child.pid && child.exitCode === null) {
      process.kill(-child.pid, 'SIGKILL')
      await once(child, 'exit')
    }
  }
  process.on('exit', () => child.pid && child.exitCode === null && process.kill(-child.pid, 'SIGKILL'))
  // Nitro lets a request wait until the first build is ready.
  const isHealthy = async () => {
    const signal = AbortSignal.timeout(240_000)
    return (await fetch(`http://127.0.0.1:${port}/api/health`, { signal }).catch(() => undefined))?.status === 200
  }
  await waitUntil(isHealthy, { what: 'the development server answered', timeout: 240_000 }).catch((error: Error) => {
    throw new Error(`${error.message}; its log:\n${log}`)
  })
})

afterAll(async () => {
  await stop?.()
  await yoto.stop()
  await api.stop()
  rmSync(folder, { recursive: true })
})

/** fetch() does not let a Host be set. */
async function get(path: string, headers: Record<string, string>, body?: Buffer): Promise<number | undefined> {
  const sent = request({ host: '127.0.0.1', port, path, headers, method: body ? 'PUT' : 'GET' }).end(body)
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

it("carries calls to Yoto's API, as the built service does", async () => {
  const host = `localhost:${port}`
  expect(await get('/api/yoto/v1//a%2Fb?c=%20d', { host })).toBe(200)
  expect(await get('/api/yoto/upload', { host }, randomBytes(5_000_000))).toBe(200)
  expect(api.arrivals).toMatchObject([
    { method: 'GET', target: '/v1//a%2Fb?c=%20d', headers: { authorization: expect.stringMatching(/^Bearer ./) } },
    { method: 'PUT', target: '/upload', bytes: 5_000_000, end: 'whole' },
  ])
  for (const path of ['/api/yoto/a/../b', '/api/yoto/a\\b']) expect(await get(path, { host })).toBe(400)
  expect(api.arrivals.length).toBe(2)
  expect(await get('/api/yoto/v1', { host: 'evil.example' })).toBe(403)
})

it('describes the API as the built service does', async () => {
  const answer = await fetch(`http://127.0.0.1:${port}/_openapi.json`)
  const { servers, paths } = (await answer.json()) as { servers: unknown; paths: Record<string, object> }
  expect(servers).toEqual([{ url: '/' }])
  expect(Object.keys(paths)).toEqual(expect.arrayContaining(['/api/token', '/api/access/unlock']))
  expect(Object.keys(paths).filter((path) => !/^\/(api\/|_openapi\.json$)/.test(path))).toEqual([])
  expect(await get('/docs', { host: `localhost:${port}` })).toBe(200)
})
