import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from './support/authorization-server'
import { startKeeper } from './support/keeper-process'
import { type StandIn, type StandInOptions, startStandIn } from './support/stand-in'
import { waitUntil } from './support/wait-until'

/** What the other tests lean on is tried here by itself, with nothing but fetch. */

const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code'

async function post(server: { url: string; clientId: string }, path: string, form: Record<string, string>) {
  const body = new URLSearchParams({ client_id: server.clientId, ...form })
  const response = await fetch(server.url + path, { method: 'POST', body, redirect: 'manual' })
  const text = await response.text()
  return {
    status: response.status,
    text,
    body: (text.startsWith('{') ? JSON.parse(text) : {}) as Record<string, string>,
  }
}
const start = (server: StandIn | AuthorizationServer) =>
  post(server, '/oauth/device/code', { scope: 'offline_access', audience: 'https://api.yotoplay.com' })
const poll = (server: StandIn | AuthorizationServer, device_code = '') =>
  post(server, '/oauth/token', { grant_type: DEVICE_GRANT, device_code })
const refresh = (server: StandIn | AuthorizationServer, refresh_token = '') =>
  post(server, '/oauth/token', { grant_type: 'refresh_token', refresh_token })
const whoami = (server: StandIn | AuthorizationServer, token = '') =>
  fetch(`${server.url}/v1/whoami`, { headers: { authorization: `Bearer ${token}` } })

describe('authorization server', () => {
  let server: AuthorizationServer
  beforeAll(async () => {
    server = await startAuthorizationServer({ interval: 1 })
  })
  afterAll(() => server.stop())

  async function signIn(login?: string) {
    const { body } = await start(server)
    await server.approve(body.user_code ?? '', login)
    return (await poll(server, body.device_code)).body
  }

  it('is pending until a person approves, then issues tokens that it accepts', async () => {
    const { body: device } = await start(server)
    expect(device).toMatchObject({ verification_uri: `${server.url}/activate`, interval: 1, expires_in: 300 })
    expect(await poll(server, device.device_code)).toMatchObject({ body: { error: 'authorization_pending' } })

    await server.approve(device.user_code ?? '', 'ada')
    const { body: tokens } = await poll(server, device.device_code)
    expect(tokens).toMatchObject({ token_type: 'Bearer', expires_in: 3600, refresh_token: expect.any(String) })
    expect(await (await whoami(server, tokens.access_token)).json()).toEqual({ sub: 'ada' })
    expect((await whoami(server, `${tokens.access_token}x`)).status).toBe(401)
  })

  it('tells a refused code from a pending one, and takes each code once', async () => {
    const { body } = await start(server)
    await server.deny(body.user_code ?? '')
    expect(await poll(server, body.device_code)).toMatchObject({ body: { error: 'access_denied' } })
    await expect(server.approve(body.user_code ?? '')).rejects.toThrow('not accepted')
    await expect(server.deny('AAAA-AAAA')).rejects.toThrow('not refused')
  })

  it('rotates, and ends the whole family when a replaced token comes back', async () => {
    const first = await signIn()
    const before = server.refreshes
    const { body: second } = await refresh(server, first.refresh_token)
    expect(second.refresh_token).not.toBe(first.refresh_token)
    expect(server.refreshes).toBe(before + 1)
    expect((await whoami(server, second.access_token)).status).toBe(200)

    expect(await refresh(server, first.refresh_token)).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
    expect(await refresh(server, second.refresh_token)).toMatchObject({ status: 400, body: { error: 'invalid_grant' } })
    expect(server.refreshes).toBe(before + 1)
  })

  it('revokes one family and leaves the others', async () => {
    const [one, other] = [await signIn(), await signIn()]
    expect(await post(server, '/oauth/revoke', { token: one.refresh_token ?? '' })).toMatchObject({ status: 200 })
    expect(await refresh(server, one.refresh_token)).toMatchObject({ body: { error: 'invalid_grant' } })
    expect(await refresh(server, other.refresh_token)).toMatchObject({ status: 200 })
  })

  it('issues access tokens that expire', async () => {
    const brief = await startAuthorizationServer({ accessTokenTtl: 1 })
    const { body } = await start(brief)
    await brief.approve(body.user_code ?? '')
    const { access_token } = (await poll(brief, body.device_code)).body
    await expect.poll(async () => (await whoami(brief, access_token)).status, { timeout: 3000 }).toBe(401)
    await brief.stop()
  })

  it('exchanges an authorization code with PKCE for a refresh token without prompt=consent', async () => {
    const redirect_uri = 'http://127.0.0.1:8080/api/auth/callback'
    const web = await startAuthorizationServer({ redirectUris: [redirect_uri] })
    // The example of RFC 7636, appendix B.
    const code_verifier = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'
    const query = new URLSearchParams({
      ...{ client_id: web.clientId, response_type: 'code', redirect_uri, scope: 'offline_access', state: 's' },
      ...{ code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256' },
    })
    const back = await web.signIn(`/authorize?${query}`)
    expect(back.searchParams.get('state')).toBe('s')
    const form = {
      grant_type: 'authorization_code',
      redirect_uri,
      code_verifier,
      code: back.searchParams.get('code') ?? '',
    }
    const { status, body } = await post(web, '/oauth/token', form)
    expect(status).toBe(200)
    expect(await refresh(web, body.refresh_token)).toMatchObject({ status: 200 })
    await web.stop()
  })

  it('records requests without their secrets', () => {
    const tokenRequest = server.requests.find((request) => request.grant_type === 'refresh_token')
    expect(tokenRequest).toEqual({
      method: 'POST',
      path: '/oauth/token',
      grant_type: 'refresh_token',
      at: expect.any(Number),
    })
  })
})

describe('stand-in', () => {
  let server: StandIn
  const started = async (options?: StandInOptions) => {
    server = await startStandIn(options)
    return server
  }
  afterEach(() => server.stop())

  it('answers polls with the statuses of Auth0', async () => {
    await started({ interval: 0 })
    const { body: device } = await start(server)
    const { device_code, user_code = '' } = device
    expect(await poll(server, device_code)).toMatchObject({ status: 403, body: { error: 'authorization_pending' } })
    server.deny(user_code)
    expect(await poll(server, device_code)).toMatchObject({ status: 403, body: { error: 'access_denied' } })
    server.expire(user_code)
    expect(await poll(server, device_code)).toMatchObject({ status: 403, body: { error: 'expired_token' } })
    server.approve(user_code)
    const { body: tokens } = await poll(server, device_code)
    expect((await whoami(server, tokens.access_token)).status).toBe(200)
    expect(await poll(server, device_code)).toMatchObject({ status: 403, body: { error: 'invalid_grant' } })
    expect(server.counts).toMatchObject({ device: 1, polls: 5 })
    expect(server.pollTimes).toHaveLength(5)
  })

  it('slows down a client that polls too fast', async () => {
    await started({ interval: 5 })
    const { device_code } = (await start(server)).body
    expect(await poll(server, device_code)).toMatchObject({ body: { error: 'authorization_pending' } })
    expect(await poll(server, device_code)).toMatchObject({ status: 429, body: { error: 'slow_down' } })
  })

  it('ends a family when a replaced token comes back', async () => {
    await started()
    const { refresh_token } = server.seed()
    const { body: second } = await refresh(server, refresh_token)
    expect(server.currentRefreshToken()).toBe(second.refresh_token)
    expect(await refresh(server, refresh_token)).toMatchObject({ status: 403, body: { error: 'invalid_grant' } })
    expect(await refresh(server, second.refresh_token)).toMatchObject({ status: 403 })
    expect(server.isRevoked(refresh_token)).toBe(true)
    expect(server.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 2, refresh_reused: 1 })
  })

  it('accepts within the leeway the token just replaced, and no older one', async () => {
    await started({ leewayMs: 60_000 })
    const { refresh_token: first } = server.seed()
    const second = (await refresh(server, first)).body.refresh_token
    const again = (await refresh(server, first)).body.refresh_token
    expect(again).not.toBe(second)
    expect(server.currentRefreshToken(first)).toBe(again)

    expect(await refresh(server, again)).toMatchObject({ status: 200 })
    expect(await refresh(server, first)).toMatchObject({ status: 403 })
    expect(server.isRevoked(first)).toBe(true)
  })

  it('revokes one family, or all where the tenant says so', async () => {
    await started()
    const [one, other] = [server.seed(), server.seed()]
    expect(await post(server, '/oauth/revoke', { token: one.refresh_token })).toEqual({
      status: 200,
      text: '',
      body: {},
    })
    expect([server.isRevoked(one.refresh_token), server.isRevoked(other.refresh_token)]).toEqual([true, false])
    await server.stop()

    await started({ revocationDeletesGrant: true })
    const [old, replacement] = [server.seed(), server.seed()]
    await post(server, '/oauth/revoke', { token: old.refresh_token })
    expect(server.isRevoked(replacement.refresh_token)).toBe(true)
  })

  it('loses an answer before or after the rotation', async () => {
    await started()
    const { refresh_token } = server.seed()
    server.inject({ kind: 'reset-before' })
    server.inject({ kind: 'status', status: 503, headers: { 'retry-after': '1' } })
    server.inject({ kind: 'reset-after' }, { grant_type: 'refresh_token' })
    await expect(refresh(server, refresh_token)).rejects.toThrow()
    expect(await refresh(server, refresh_token)).toMatchObject({ status: 503 })
    expect(server.currentRefreshToken()).toBe(refresh_token)
    await expect(refresh(server, refresh_token)).rejects.toThrow()
    expect(server.currentRefreshToken()).not.toBe(refresh_token)
    expect(server.counts.refresh_ok).toBe(1)
  })

  it('spoils an answer', async () => {
    await started()
    const next = () => refresh(server, server.currentRefreshToken(refresh_token))
    const { refresh_token } = server.seed()
    server.inject({ kind: 'cut-json' })
    server.inject({ kind: 'replace-json', map: ({ refresh_token: _, ...rest }) => ({ ...rest, expires_in: 'abc' }) })
    server.inject({ kind: 'html-200' })
    server.inject({ kind: 'redirect', location: 'http://127.0.0.1:9/' })
    server.inject({ kind: 'huge' })
    await expect(next()).rejects.toThrow(SyntaxError)
    expect((await next()).body).toEqual(expect.objectContaining({ expires_in: 'abc', token_type: 'Bearer' }))
    expect((await next()).text).toContain('<!DOCTYPE html>')
    expect(await next()).toMatchObject({ status: 302 })
    expect((await next()).text.length).toBeGreaterThan(10_000_000)
    expect(await next()).toMatchObject({ status: 200 })
    expect(server.counts.refresh_ok).toBe(3)
  })

  it('stops although answers are still owed', async () => {
    await started()
    const { refresh_token } = server.seed()
    for (const kind of ['timeout', 'slow-drip'] as const) server.inject({ kind })
    server.inject({ kind: 'delay', ms: 60_000 })
    const held = server.hold({ path: '/oauth/revoke' })
    const owed = [refresh(server, refresh_token), refresh(server, refresh_token), refresh(server, refresh_token)]
    const outcomes = Promise.allSettled([...owed, post(server, '/oauth/revoke', { token: refresh_token })])
    await held.reached
    await server.stop()
    expect((await outcomes).map(({ status }) => status)).toEqual(Array(4).fill('rejected'))
  })

  it('holds an answer back until it is released', async () => {
    await started()
    const { refresh_token } = server.seed()
    const held = server.hold()
    const answer = refresh(server, refresh_token)
    await held.reached
    expect(server.counts.refresh_ok).toBe(1)
    held.release()
    expect(await answer).toMatchObject({ status: 200 })
  })

  it('refuses connections while paused, and comes back at the same address', async () => {
    await started()
    const { refresh_token } = server.seed()
    await server.pause()
    await expect(refresh(server, refresh_token)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
    await server.resume()
    expect(await refresh(server, refresh_token)).toMatchObject({ status: 200 })
  })
})

describe('keeper process', () => {
  const folder = mkdtempSync(join(tmpdir(), 'entry-'))
  const entry = join(folder, 'entry.mjs')
  afterAll(() => rmSync(folder, { recursive: true }))

  it('starts the entry with the given environment alone, and collects what it prints', async () => {
    writeFileSync(
      entry,
      `import { createServer } from 'node:http'
      console.log('cwd', process.cwd())
      process.on('SIGTERM', () => { console.log('bye'); process.exit(7) })
      createServer((request, response) => {
        response.end(JSON.stringify({ names: Object.keys(process.env).sort(), key: request.headers.authorization }))
      }).listen(process.env.PORT, process.env.HOST)`,
    )
    const keeper = await startKeeper({ entry, env: { YOTO_CLIENT_ID: 'x' } })
    await waitUntil(() => keeper.log().includes(`cwd ${keeper.cwd}`), { what: 'its log was read' })
    expect(await keeper.json('/')).toMatchObject({
      status: 200,
      body: { names: ['HOME', 'HOST', 'KEEPER_KEY', 'PATH', 'PORT', 'YOTO_CLIENT_ID'], key: `Bearer ${keeper.key}` },
    })
    expect((await keeper.json('/', { headers: { authorization: 'Bearer other' } })).body.key).toBe('Bearer other')
    expect(await keeper.stop()).toEqual({ code: 7, signal: null })
    expect(keeper.log()).toContain('bye')

    const killed = await startKeeper({ entry })
    expect(await killed.kill()).toEqual({ code: null, signal: 'SIGKILL' })
  })

  it('hands over the log of an entry that does not start', async () => {
    writeFileSync(entry, `console.error('no client id'); process.exit(1)`)
    await expect(startKeeper({ entry })).rejects.toThrow('no client id')
  })
})
