import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { describe, expect, it, type TestContext } from 'vitest'
import { BUILT_SERVER, type Keeper, startKeeper } from '../support/keeper-process'
import { type Hold, type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// SIGTERM and SIGINT (rule 11): what Yoto is about to issue and its save are waited for, whatever else is still open.

/** A service whose first refresh has reached Yoto and is kept waiting there, and a request that never ends. */
async function duringRefresh(context: TestContext): Promise<{ keeper: Keeper; yoto: StandIn; release(): void }> {
  const yoto = await startStandIn()
  const cwd = mkdtempSync(join(tmpdir(), 'shutdown-'))
  context.onTestFinished(async () => {
    await yoto.stop()
    rmSync(cwd, { recursive: true })
  })
  writeFileSync(join(cwd, '.yoto_refresh_token'), yoto.seed().refresh_token)
  const hold = yoto.hold({ grant_type: 'refresh_token' })
  const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url }
  const keeper = await startKeeper({ cwd, env })
  await hold.reached
  const { port } = new URL(keeper.url)
  const endless = connect(Number(port), '127.0.0.1').on('error', () => {})
  endless.write(`POST /api/auth/poll HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${keeper.key}\r\n`)
  endless.write('Content-Length: 1000\r\n\r\n{')
  await once(endless, 'connect').catch(() => {})
  context.onTestFinished(() => void endless.destroy())
  return { keeper, yoto, release: hold.release }
}

describe.concurrent.each(['SIGTERM', 'SIGINT'] as const)('%s in the middle of a refresh', (signal) => {
  // Nitro's own shutdown would save as well, but wait 30 s for the request that never ends.
  it('waits for the answer and its save, and for nothing else', { timeout: 20_000 }, async (context) => {
    const { keeper, yoto, release } = await duringRefresh(context)
    const ended = keeper.kill(signal)
    release()
    expect(await ended).toEqual({ code: 0, signal: null })
    expect(readFileSync(join(keeper.cwd, '.yoto_refresh_token'), 'utf8')).toBe(yoto.currentRefreshToken())
    expect(yoto.counts.refresh_ok).toBe(1)
    const again = await startKeeper({
      cwd: keeper.cwd,
      env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url },
    })
    expect((await again.json('/api/token')).status).toBe(200)
    expect(yoto.counts.refresh_ok).toBe(1)
    await again.stop()
  })

  it('ends all the same when no answer comes', async (context) => {
    const { keeper } = await duringRefresh(context)
    expect(await keeper.kill(signal)).toEqual({ code: 0, signal: null })
  })
})

it('waits for a sign-in that Yoto has granted, and cuts no write', { timeout: 30_000 }, async (context) => {
  const yoto = await startStandIn({ interval: 1 })
  context.onTestFinished(() => yoto.stop())
  const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url }
  const keeper = await startKeeper({ env })
  const { body } = await keeper.json<{ user_code: string }>('/api/auth/start', { method: 'POST' })
  yoto.approve(body.user_code)
  const hold = yoto.hold()
  await hold.reached
  await endsAfter(hold, keeper, yoto)
  const again = await startKeeper({ cwd: keeper.cwd, env })
  expect((await again.json('/api/token')).status).toBe(200)
  expect(yoto.counts.refresh_ok).toBe(0)
  await again.stop()
})

it('waits for a sign-in in the browser whose code is being exchanged', { timeout: 30_000 }, async (context) => {
  const yoto = await startStandIn()
  context.onTestFinished(() => yoto.stop())
  const keeper = await startKeeper({ env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url } })
  const { headers } = await keeper.fetch('/api/auth/login', { redirect: 'manual' })
  const state = new URL(headers.get('location') ?? '').searchParams.get('state') ?? ''
  const cookie = headers.get('set-cookie')?.split(';')[0] ?? ''
  const hold = yoto.hold({ grant_type: 'authorization_code' })
  const query = new URLSearchParams({ state, code: yoto.authorize() })
  // The browser does not wait for it.
  const { hostname: host, port } = new URL(keeper.url)
  const browser = connect(Number(port), host).on('error', () => {})
  browser.write(`GET /api/auth/callback?${query} HTTP/1.1\r\nHost: localhost\r\nCookie: ${cookie}\r\n\r\n`)
  await hold.reached
  browser.destroy()
  await endsAfter(hold, keeper, yoto)
})

it('ends with 1 where its port is taken, says so, and leaves the token alone', async (context) => {
  const yoto = await startStandIn()
  const first = await startKeeper()
  const cwd = mkdtempSync(join(tmpdir(), 'shutdown-'))
  context.onTestFinished(async () => {
    await Promise.all([yoto.stop(), first.kill()])
    rmSync(cwd, { recursive: true })
  })
  const { refresh_token } = yoto.seed()
  writeFileSync(join(cwd, '.yoto_refresh_token'), refresh_token)
  const { PATH = '', HOME = '' } = process.env
  const PORT = new URL(first.url).port
  const env = { PATH, HOME, HOST: '127.0.0.1', PORT, YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url }
  const second = await promisify(execFile)(process.execPath, [BUILT_SERVER], { cwd, env }).catch((error) => error)
  expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining(`Port ${PORT} cannot be listened on`) })
  expect(yoto.counts.refresh_ok).toBe(0)
  expect(readFileSync(join(cwd, '.yoto_refresh_token'), 'utf8')).toBe(refresh_token)
  expect((await first.json('/api/health')).status).toBe(200)
})

/** Told to end, it waits for what is held back, and what that brings is stored whole. */
async function endsAfter(hold: Hold, keeper: Keeper, yoto: StandIn): Promise<void> {
  const ended = keeper.kill('SIGTERM')
  await refusesConnections(keeper)
  // Longer than the service takes to end when it waits for nothing.
  expect(await Promise.race([ended, sleep(1_000, 'it waits')])).toBe('it waits')
  hold.release()
  expect(await ended).toEqual({ code: 0, signal: null })
  expect(readFileSync(join(keeper.cwd, '.yoto_refresh_token'), 'utf8')).toBe(yoto.currentRefreshToken())
  expect(readdirSync(keeper.cwd).filter((name) => name.endsWith('.tmp'))).toEqual([])
}

/** The signal has arrived. */
async function refusesConnections({ url }: Keeper): Promise<void> {
  const isRefused = () =>
    fetch(`${url}/api/health`).then(
      () => false,
      () => true,
    )
  await waitUntil(isRefused, { what: 'the service had begun to stop' })
}
