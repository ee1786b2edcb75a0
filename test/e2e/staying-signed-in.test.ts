import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startAuthorizationServer } from '../support/authorization-server'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// Signed in once, and from then on: through restarts, crashes and the end of every access token.

interface Yoto {
  url: string
  clientId: string
}

const environment = (yoto: Yoto) => ({ YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url })
const fileOf = (keeper: { cwd: string }) => join(keeper.cwd, '.yoto_refresh_token')

interface Status {
  state: string
  problem?: string
  authenticated: boolean
}

const statusOf = async (keeper: Keeper) => (await keeper.json<Status>('/api/auth/status')).body
const tokenOf = async (keeper: Keeper) => (await keeper.json<{ access_token: string }>('/api/token')).body.access_token

async function signIn(keeper: Keeper, approve: (userCode: string) => void | Promise<void>): Promise<void> {
  const start = await keeper.json<{ device_code: string; user_code: string }>('/api/auth/start', { method: 'POST' })
  await approve(start.body.user_code)
  await waitUntil(async () => (await statusOf(keeper)).authenticated, { what: 'signed in' })
}

describe.concurrent('a sign-in', () => {
  it('survives kill -9: the same token, no sign-in, no refresh', async () => {
    const yoto = await startAuthorizationServer({ interval: 1 })
    const keeper = await startKeeper({ env: environment(yoto) })
    await signIn(keeper, (code) => yoto.approve(code))
    const token = await tokenOf(keeper)
    await keeper.kill('SIGKILL')

    const again = await startKeeper({ cwd: keeper.cwd, env: environment(yoto) })
    expect(await tokenOf(again)).toBe(token)
    expect((await fetch(`${yoto.url}/v1/whoami`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200)
    expect(yoto.refreshes).toBe(0)
    await again.stop()
    await yoto.stop()
  })

  it('lies in one file with exactly the token, for the owner alone', async () => {
    const yoto = await startStandIn({ interval: 1 })
    const keeper = await startKeeper({ env: environment(yoto) })
    await signIn(keeper, (code) => yoto.approve(code))
    expect(readFileSync(fileOf(keeper), 'utf8')).toBe(yoto.currentRefreshToken())
    expect(statSync(fileOf(keeper)).mode & 0o777).toBe(0o600)
    await keeper.stop()
    await yoto.stop()
  })

  it('is taken over from yoto-smart-stream, on the volume that Railway names, by the same build', async () => {
    const yoto = await startStandIn()
    const volume = mkdtempSync(join(tmpdir(), 'volume-'))
    writeFileSync(join(volume, '.yoto_refresh_token'), `${yoto.seed().refresh_token}\n`)
    const railway = { RAILWAY_ENVIRONMENT_NAME: 'production', RAILWAY_VOLUME_MOUNT_PATH: volume }
    const keeper = await startKeeper({ env: { ...environment(yoto), ...railway } })
    await waitUntil(async () => (await statusOf(keeper)).authenticated, {
      what: 'signed in with the token that was there',
    })
    expect(readFileSync(join(volume, '.yoto_refresh_token'), 'utf8')).toBe(yoto.currentRefreshToken())
    expect(existsSync(fileOf(keeper))).toBe(false)
    await keeper.stop()
    rmSync(volume, { recursive: true })
    await yoto.stop()
  })

  it('of 4 seconds is refreshed ahead for a minute, and no caller gets a token that has expired', async () => {
    const yoto = await startAuthorizationServer({ interval: 1, accessTokenTtl: 4 })
    const keeper = await startKeeper({ env: environment(yoto) })
    await signIn(keeper, (code) => yoto.approve(code))
    const end = Date.now() + 60_000
    let calls = 0
    let shortest = Number.POSITIVE_INFINITY
    while (Date.now() < end) {
      const { status, body } = await keeper.json<{ access_token: string; expires_in: number }>('/api/token')
      expect(status).toBe(200)
      const { exp } = JSON.parse(Buffer.from(body.access_token.split('.')[1] ?? '', 'base64url').toString())
      shortest = Math.min(shortest, exp * 1000 - Date.now())
      calls++
      if (calls % 50 === 0) {
        const authorization = `Bearer ${body.access_token}`
        expect((await fetch(`${yoto.url}/v1/whoami`, { headers: { authorization } })).status).toBe(200)
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    console.log(
      `4-second tokens for a minute: ${calls} calls, ${yoto.refreshes} refreshes, shortest life left ${shortest} ms`,
    )
    expect(shortest).toBeGreaterThan(0)
    expect(yoto.refreshes).toBeGreaterThan(10)
    await keeper.stop()
    await yoto.stop()
  })

  it('goes on by itself when Yoto was down at the start', async () => {
    const yoto = await startStandIn()
    const cwd = mkdtempSync(join(tmpdir(), 'keeper-'))
    writeFileSync(join(cwd, '.yoto_refresh_token'), yoto.seed().refresh_token)
    await yoto.pause()
    const keeper = await startKeeper({ cwd, env: environment(yoto) })
    await waitUntil(async () => (await statusOf(keeper)).problem === 'yoto_unreachable', {
      what: 'the problem is named',
    })
    const answer = await keeper.json<{ error: string }>('/api/token')
    expect([answer.status, answer.body.error]).toEqual([503, 'yoto_unreachable'])
    expect((await keeper.json('/api/ready')).status).toBe(200)
    await yoto.resume()
    await waitUntil(async () => (await statusOf(keeper)).authenticated, { what: 'signed in again' })
    await keeper.stop()
    rmSync(cwd, { recursive: true })
    await yoto.stop()
  })

  it('ends within 2 seconds when its file is removed, and changes when it is replaced', async () => {
    const yoto = await startStandIn()
    const cwd = mkdtempSync(join(tmpdir(), 'keeper-'))
    writeFileSync(join(cwd, '.yoto_refresh_token'), yoto.seed().refresh_token)
    const keeper = await startKeeper({ cwd, env: environment(yoto) })
    await waitUntil(async () => (await statusOf(keeper)).authenticated, { what: 'signed in' })
    const token = await tokenOf(keeper)

    const another = yoto.seed().refresh_token
    const replacedAt = Date.now()
    writeFileSync(fileOf(keeper), another)
    await waitUntil(async () => (await tokenOf(keeper)) !== token, { what: 'the replaced token is used' })
    const replaced = Date.now() - replacedAt

    const removedAt = Date.now()
    rmSync(fileOf(keeper))
    await waitUntil(async () => (await keeper.json('/api/token')).status === 409, { what: 'the removal is noticed' })
    console.log(`noticed: a replaced token after ${replaced} ms, a removed one after ${Date.now() - removedAt} ms`)
    expect((await statusOf(keeper)).state).toBe('signed_out')
    const record = () => readFileSync(join(cwd, '.yoto_token_set.json'), 'utf8')
    await waitUntil(() => !record().includes('access_token'), { what: 'the access token is gone from the disk' })
    await keeper.stop()
    rmSync(cwd, { recursive: true })
    await yoto.stop()
  })
})

describe('what looks like something else', () => {
  it('is a token all the same: 123, true, null, {"a":1}', async () => {
    const values = ['123', 'true', 'null', '{"a":1}']
    const received: string[] = []
    const server = createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      received.push(new URLSearchParams(body).get('refresh_token') ?? '')
      response.setHeader('content-type', 'application/json')
      response.end(
        JSON.stringify({
          access_token: 'at',
          token_type: 'Bearer',
          expires_in: 1,
          refresh_token: values[received.length],
        }),
      )
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

    const cwd = mkdtempSync(join(tmpdir(), 'keeper-'))
    writeFileSync(join(cwd, '.yoto_refresh_token'), values[0] ?? '')
    // A start for every value: each reads from the file what the one before has written.
    for (const [at, value] of values.entries()) {
      const keeper = await startKeeper({ cwd, env: environment({ url, clientId: 'any' }) })
      await waitUntil(() => received.length > at, { what: `${value} is sent` })
      const next = values[at + 1]
      if (next) await waitUntil(() => readFileSync(fileOf(keeper), 'utf8') === next, { what: `${next} is on the disk` })
      await keeper.kill()
    }
    expect(received.slice(0, 4)).toEqual(values)
    server.closeAllConnections()
    server.close()
    rmSync(cwd, { recursive: true })
  })
})
