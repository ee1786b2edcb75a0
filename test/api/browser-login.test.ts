import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readConfig } from '../../server/config'
import { redirectUri } from '../../server/http/redirect-uri'
import { arrivals, place } from '../faults/scene'
import { startAuthorizationServer } from '../support/authorization-server'
import { freePort, type Keeper, startKeeper } from '../support/keeper-process'
import { type Fault, type SeededTokens, type StandIn, startStandIn } from '../support/stand-in'

// Authorization code with PKCE (RFC 6749 4.1, RFC 7636): every way back from Yoto, in the built service.

const AUTHORIZATION_CODE = { grant_type: 'authorization_code' }

/** What a browser would hold after /api/auth/login. */
interface Begun {
  status: number
  url: URL
  state: string
  cookie: string
  attributes: string
}

async function begin(keeper: Keeper, headers: Record<string, string> = {}): Promise<Begun> {
  const answer = await keeper.fetch('/api/auth/login', { redirect: 'manual', headers })
  const [cookie = '', ...attributes] = (answer.headers.getSetCookie()[0] ?? '').split('; ')
  const url = new URL(answer.headers.get('location') ?? 'none:', keeper.url)
  const state = url.searchParams.get('state') ?? ''
  return { status: answer.status, url, state, cookie, attributes: attributes.join('; ') }
}

/** As the browser comes back: without a key, and with these cookies. Where it is sent then. */
async function comeBack(keeper: Keeper, query: Record<string, string>, ...cookies: string[]): Promise<string> {
  const answer = await fetch(`${keeper.url}/api/auth/callback?${new URLSearchParams(query)}`, {
    redirect: 'manual',
    headers: { cookie: cookies.join('; ') },
  })
  expect(answer.status).toBe(302)
  expect(await answer.text()).not.toContain('script')
  return answer.headers.get('location') ?? ''
}

const ending = (name: string) => `/#sign-in=${name}`
/** The sign-ins that the journal tells of, each by its outcome. */
async function noted(keeper: Keeper): Promise<string[]> {
  const { body } = await keeper.json<{ events: { kind: string; outcome: string }[] }>('/api/journal')
  return body.events.filter(({ kind }) => kind === 'sign_in').map(({ outcome }) => outcome)
}
const storedToken = (keeper: Keeper) => readFileSync(join(keeper.cwd, '.yoto_refresh_token'), 'utf8').trim()

describe('with a real authorization server', () => {
  async function start({ clientSecret, env = {} }: { clientSecret?: string; env?: object } = {}) {
    const port = String(await freePort())
    const redirectUris = [`http://127.0.0.1:${port}/api/auth/callback`]
    const yoto = await startAuthorizationServer({ redirectUris, clientSecret, interval: 1 })
    const keeper = await startKeeper({
      env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, PORT: port, ...env },
    })
    onTestFinished(async () => {
      await keeper.stop()
      await yoto.stop()
    })
    /** The person signs in at the authorization server; how the service ends it. */
    const signIn = async (begun: Begun, login = 'parent') => {
      const back = await yoto.signIn(begun.url.href, login)
      return comeBack(keeper, Object.fromEntries(back.searchParams), begun.cookie)
    }
    return { yoto, keeper, signIn, redirectUri: redirectUris[0] }
  }

  it('signs in: S256, state, audience and scope as in the device flow', async () => {
    const { yoto, keeper, signIn, redirectUri } = await start()
    const begun = await begin(keeper)
    expect(begun.status).toBe(302)
    expect(begun.url.origin + begun.url.pathname).toBe(`${yoto.url}/authorize`)
    expect(Object.fromEntries(begun.url.searchParams)).toEqual({
      response_type: 'code',
      client_id: yoto.clientId,
      redirect_uri: redirectUri,
      scope: 'offline_access',
      audience: 'https://api.yotoplay.com',
      state: expect.stringMatching(/^[0-9a-f]{32}$/),
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      code_challenge_method: 'S256',
    })
    expect(begun.cookie).toMatch(new RegExp(`^keeper_login_${begun.state}=[0-9a-f]{64}$`))
    expect(begun.attributes).toBe('Max-Age=600; Path=/api/auth/callback; HttpOnly; SameSite=Lax')

    const file = readFileSync(join(keeper.cwd, `.yoto_login_${begun.state}.json`), 'utf8')
    const { code_verifier } = JSON.parse(file)
    expect(createHash('sha256').update(code_verifier).digest('base64url')).toBe(
      begun.url.searchParams.get('code_challenge'),
    )
    expect(file).not.toContain(begun.cookie.split('=')[1])

    expect(await signIn(begun)).toBe(ending('success'))
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ state: 'signed_in', account: 'parent' })
    const { body } = await keeper.json<{ access_token: string }>('/api/token')
    const whoami = await fetch(`${yoto.url}/v1/whoami`, { headers: { authorization: `Bearer ${body.access_token}` } })
    expect(whoami.status).toBe(200)
    expect((await keeper.json('/api/auth/refresh', { method: 'POST' })).status).toBe(200)
    expect(keeper.log()).not.toContain(code_verifier)
    expect(keeper.log()).not.toContain(begun.state)
    expect(keeper.log()).not.toContain(begun.cookie.split('=')[1])
  })

  it('says so when the account is another one, in the browser and with a code', async () => {
    const { yoto, keeper, signIn } = await start()
    expect(await signIn(await begin(keeper), 'mother')).toBe(ending('success'))
    expect(await signIn(await begin(keeper), 'mother')).toBe(ending('success'))
    expect(await signIn(await begin(keeper), 'father')).toBe(ending('other_account'))
    const { body } = await keeper.json<{ user_code: string }>('/api/auth/start', { method: 'POST' })
    await yoto.approve(body.user_code, 'aunt')
    const poll = async () => (await keeper.json('/api/auth/poll', { method: 'POST', body: JSON.stringify(body) })).body
    await expect.poll(poll, { timeout: 15_000 }).toMatchObject({
      status: 'success',
      message: 'Signed in, to another account than before.',
    })
  })

  it('sends the secret of a confidential client', async () => {
    const clientSecret = 'a-secret-of-the-client'
    const right = await start({ clientSecret, env: { YOTO_CLIENT_SECRET: clientSecret } })
    expect(await right.signIn(await begin(right.keeper))).toBe(ending('success'))
    const without = await start({ clientSecret })
    expect(await without.signIn(await begin(without.keeper))).toBe(ending('failed'))
  })

  it('two tabs at once: each comes back to its own, and the last one counts', async () => {
    const { yoto, keeper } = await start()
    const [one, two] = [await begin(keeper), await begin(keeper)]
    const [first, second] = [one, two].map(({ url }) => url.searchParams.get('code_challenge'))
    expect(first).not.toBe(second)
    const backTwo = await yoto.signIn(two.url.href, 'two')
    const backOne = await yoto.signIn(one.url.href, 'one')
    const cookies = [one.cookie, two.cookie]
    expect(await comeBack(keeper, Object.fromEntries(backTwo.searchParams), ...cookies)).toBe(ending('success'))
    expect(await comeBack(keeper, Object.fromEntries(backOne.searchParams), ...cookies)).toBe(ending('other_account'))
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ account: 'one' })
  })

  it('is begun before a restart and ended after it', async () => {
    const { yoto, keeper } = await start()
    const begun = await begin(keeper)
    await keeper.stop()
    const port = new URL(keeper.url).port
    const again = await startKeeper({
      cwd: keeper.cwd,
      env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, PORT: port },
    })
    onTestFinished(() => void again.kill())
    const back = await yoto.signIn(begun.url.href)
    expect(await comeBack(again, Object.fromEntries(back.searchParams), begun.cookie)).toBe(ending('success'))
  })
})

/** Somebody is signed in; every sign-in that comes to nothing must leave that as it is. */
async function startSignedIn(change: object = {}) {
  const yoto = await startStandIn()
  // Nothing is to be refreshed here; another client's token is tried, and refused.
  yoto.inject({ kind: 'status', status: 403, body: { error: 'invalid_grant' } }, { grant_type: 'refresh_token' })
  const folder = mkdtempSync(join(tmpdir(), 'browser-login-'))
  const first = yoto.seed()
  place(folder, yoto, first, 'valid')
  const record = join(folder, '.yoto_token_set.json')
  writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record, 'utf8')), ...change }))
  const own = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, DATA_DIR: folder }
  const keeper = await startKeeper({ cwd: folder, env: own })
  onTestFinished(async () => {
    await keeper.kill()
    await yoto.stop()
    rmSync(folder, { recursive: true })
  })
  return { yoto, keeper, first }
}

async function expectUntouched(keeper: Keeper, yoto: StandIn, first: SeededTokens): Promise<void> {
  expect(storedToken(keeper)).toBe(first.refresh_token)
  expect((await keeper.json<{ access_token: string }>('/api/token')).body.access_token).toBe(first.access_token)
  expect(yoto.counts).toMatchObject({ refresh_ok: 0, revoked: 0 })
}

describe('a way back that is not success leaves the sign-in as it is', () => {
  it.each([
    ['access_denied', 'denied'],
    ['unauthorized_client', 'not_allowed'],
    ['unsupported_response_type', 'not_allowed'],
    ['invalid_scope', 'wrong_scope'],
    ['server_error', 'failed'],
    ['<script>alert(1)</script>', 'failed'],
    ['', 'failed'],
  ])('error=%s', async (error, expected) => {
    const { yoto, keeper, first } = await startSignedIn()
    const { state, cookie } = await begin(keeper)
    const error_description = '<script>alert(2)</script>\r\nSet-Cookie: x=y'
    expect(await comeBack(keeper, { state, error, error_description }, cookie)).toBe(ending(expected))
    await expectUntouched(keeper, yoto, first)
    // Once is once, whatever came of it.
    const code = yoto.authorize()
    expect(await comeBack(keeper, { state, code }, cookie)).toBe(ending('used'))
    await expectUntouched(keeper, yoto, first)
  })

  const faults: [name: string, fault: Fault, expected: string][] = [
    ['invalid_grant', { kind: 'status', status: 403, body: { error: 'invalid_grant' } }, 'expired'],
    ['unauthorized_client', { kind: 'status', status: 403, body: { error: 'unauthorized_client' } }, 'not_allowed'],
    ['access_denied', { kind: 'status', status: 403, body: { error: 'access_denied' } }, 'denied'],
    ['invalid_client', { kind: 'status', status: 401, body: { error: 'invalid_client' } }, 'failed'],
    ['503', { kind: 'status', status: 503, body: 'busy' }, 'unreachable'],
    ['429', { kind: 'status', status: 429, body: 'slow' }, 'unreachable'],
    ['a lost answer', { kind: 'reset-after' }, 'unreachable'],
    [
      'an answer without a refresh token',
      { kind: 'replace-json', map: ({ refresh_token, ...rest }) => rest },
      'wrong_scope',
    ],
    ['an answer without an access token', { kind: 'replace-json', map: ({ access_token, ...rest }) => rest }, 'failed'],
  ]
  it.each(faults)('the exchange: %s', async (_, fault, expected) => {
    const { yoto, keeper, first } = await startSignedIn()
    const { state, cookie } = await begin(keeper)
    yoto.inject(fault, AUTHORIZATION_CODE)
    expect(await comeBack(keeper, { state, code: yoto.authorize() }, cookie)).toBe(ending(expected))
    await expectUntouched(keeper, yoto, first)
  })

  it('a code that Yoto does not know, and none at all', async () => {
    const { yoto, keeper, first } = await startSignedIn()
    const [one, two] = [await begin(keeper), await begin(keeper)]
    expect(await comeBack(keeper, { state: one.state, code: 'made-up' }, one.cookie)).toBe(ending('expired'))
    expect(await comeBack(keeper, { state: two.state }, two.cookie)).toBe(ending('failed'))
    await expectUntouched(keeper, yoto, first)
  })

  it('from a browser that did not begin it, with a wrong state or none; and then the right one gets through', async () => {
    const { yoto, keeper, first } = await startSignedIn()
    const [mine, other] = [await begin(keeper), await begin(keeper)]
    const code = yoto.authorize()
    const journal = JSON.stringify((await keeper.json('/api/journal')).body)
    const name = mine.cookie.split('=')[0]
    const attempts: [query: Record<string, string>, ...cookies: string[]][] = [
      [{ state: mine.state, code }],
      [{ state: mine.state, code }, other.cookie],
      [{ state: mine.state, code }, `${name}=${other.cookie.split('=')[1]}`],
      [{ state: mine.state, code }, `${name}=`],
      [{ state: '0'.repeat(32), code }, mine.cookie],
      [{ state: mine.state.slice(1), code }, mine.cookie],
      [{ state: '', code }, mine.cookie],
      [{ state: '../../x', code }, mine.cookie],
      [{ code }, mine.cookie],
      [{ error: 'access_denied' }, mine.cookie],
      [{ error: 'access_denied', error_description: 'a sentence of a stranger' }],
      [{ state: mine.state, error: 'access_denied', error_description: 'a sentence of a stranger' }],
      [{}],
    ]
    for (const [query, ...cookies] of attempts)
      expect(await comeBack(keeper, query, ...cookies)).toBe(ending('unexpected'))
    await expectUntouched(keeper, yoto, first)
    // Strangers can send these, and so fill no journal.
    expect(JSON.stringify((await keeper.json('/api/journal')).body)).toBe(journal)
    expect(await comeBack(keeper, { state: mine.state, code }, mine.cookie)).toBe(ending('success'))
    expect(storedToken(keeper)).toBe(yoto.currentRefreshToken())
    const outcome = readFileSync(join(keeper.cwd, `.yoto_login_${mine.state}.json`), 'utf8')
    expect(JSON.parse(outcome)).toMatchObject({ status: 'success', message: 'Signed in.' })
    expect(outcome).not.toContain('verifier')
  })

  it('a replay, and ten at once: the code is exchanged once', async () => {
    const { yoto, keeper } = await startSignedIn()
    const { state, cookie } = await begin(keeper)
    const query = { state, code: yoto.authorize() }
    const endings = await Promise.all(Array.from({ length: 10 }, () => comeBack(keeper, query, cookie)))
    expect(endings.sort()).toEqual([ending('success'), ...Array(9).fill(ending('used'))])
    expect(await comeBack(keeper, query, cookie)).toBe(ending('used'))
    expect(storedToken(keeper)).toBe(yoto.currentRefreshToken())
    await expect.poll(() => noted(keeper)).toEqual(['begun', 'success'])
  })

  it('after ten minutes', async () => {
    const { yoto, keeper, first } = await startSignedIn()
    const { state, cookie } = await begin(keeper)
    const path = join(keeper.cwd, `.yoto_login_${state}.json`)
    const login = JSON.parse(readFileSync(path, 'utf8'))
    expect(Date.parse(login.expires_at) - Date.parse(login.began_at)).toBe(600_000)
    writeFileSync(path, JSON.stringify({ ...login, expires_at: new Date(Date.now() - 1).toISOString() }))
    expect(await comeBack(keeper, { state, code: yoto.authorize() }, cookie)).toBe(ending('expired'))
    await expect.poll(() => noted(keeper)).toEqual(['begun'])
    await expectUntouched(keeper, yoto, first)
  })

  it('leaves nothing behind for longer than ten minutes', async () => {
    const { yoto, keeper } = await startSignedIn()
    const [open, ended, young] = [await begin(keeper), await begin(keeper), await begin(keeper)]
    await comeBack(keeper, { state: ended.state, error: 'access_denied' }, ended.cookie)
    await keeper.stop()
    const pathOf = ({ state }: Begun) => join(keeper.cwd, `.yoto_login_${state}.json`)
    const long = { expires_at: new Date(Date.now() - 601_000), ended_at: new Date(Date.now() - 601_000) }
    for (const one of [open, ended]) {
      const login = JSON.parse(readFileSync(pathOf(one), 'utf8'))
      const [key] = Object.keys(long).filter((name) => name in login) as (keyof typeof long)[]
      writeFileSync(pathOf(one), JSON.stringify({ ...login, [key as string]: long[key as keyof typeof long] }))
    }
    const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, DATA_DIR: keeper.cwd }
    const again = await startKeeper({ cwd: keeper.cwd, env })
    onTestFinished(() => void again.kill())
    await expect.poll(() => [open, ended].filter((one) => existsSync(pathOf(one))), { timeout: 10_000 }).toEqual([])
    expect(existsSync(pathOf(young))).toBe(true)
  })

  it.each([{ client_id: 'another-client' }, { server: 'https://another.example' }])(
    'begun before the configuration changed: %j',
    async (change) => {
      const { yoto, keeper, first } = await startSignedIn()
      const { state, cookie } = await begin(keeper)
      const path = join(keeper.cwd, `.yoto_login_${state}.json`)
      writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }))
      const since = performance.now()
      expect(await comeBack(keeper, { state, code: yoto.authorize() }, cookie)).toBe(ending('unexpected'))
      expect(arrivals(yoto.url, '/oauth/token', since)).toEqual([])
      await expectUntouched(keeper, yoto, first)
    },
  )

  it('with a device login in the place of its own', async () => {
    const { yoto, keeper, first } = await startSignedIn()
    const { body } = await keeper.json<{ device_code: string }>('/api/auth/start', { method: 'POST' })
    const state = body.device_code
    expect(await comeBack(keeper, { state, code: yoto.authorize() }, `keeper_login_${state}=x`)).toBe(
      ending('unexpected'),
    )
    expect((await keeper.json('/api/auth/poll', { method: 'POST', body: JSON.stringify(body) })).body).toMatchObject({
      status: 'pending',
    })
    await expectUntouched(keeper, yoto, first)
  })

  it.each<[string, object, string | undefined, boolean, string]>([
    [
      'another one than in the record of another client',
      { client_id: 'another-client' },
      'father',
      false,
      'other_account',
    ],
    ['another one than in memory', {}, 'father', true, 'other_account'],
    ['the same one', {}, 'mother', false, 'success'],
    ['not told', {}, undefined, false, 'success'],
  ])('the account is %s', async (_, change, sub, isRecordLost, expected) => {
    const { yoto, keeper } = await startSignedIn({ subject: 'mother', ...change })
    const { state, cookie } = await begin(keeper) // by now the store has been read
    if (isRecordLost) rmSync(join(keeper.cwd, '.yoto_token_set.json'))
    const access_token = `x.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.x`
    yoto.inject({ kind: 'replace-json', map: (body) => ({ ...body, access_token }) }, AUTHORIZATION_CODE)
    expect(await comeBack(keeper, { state, code: yoto.authorize() }, cookie)).toBe(ending(expected))
  })
})

describe('login', () => {
  it.each([
    ['another site', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }],
    ['a sister site', { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'navigate' }],
    ['another origin', { origin: 'https://evil.example' }],
  ])('is not begun by %s', async (_, headers) => {
    const { keeper } = await startSignedIn()
    const unlocked = await fetch(`${keeper.url}/api/access/unlock`, {
      method: 'POST',
      body: JSON.stringify({ key: keeper.key }),
    })
    const cookie = unlocked.headers.get('set-cookie')?.split(';')[0] ?? ''
    const asked = (more: object) =>
      fetch(`${keeper.url}/api/auth/login`, { redirect: 'manual', headers: { cookie, ...more } })
    expect((await asked(headers)).status).toBe(403)
    expect(readdirSync(keeper.cwd).filter((name) => name.startsWith('.yoto_login_') && name.endsWith('.json'))).toEqual(
      [],
    )
    expect((await asked({ 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'navigate' })).status).toBe(302)
  })

  it.each([
    [
      'PUBLIC_URL',
      { PUBLIC_URL: 'https://keeper.example,https://two.example:8443' },
      'keeper.example',
      'https://keeper.example',
    ],
    [
      'another PUBLIC_URL',
      { PUBLIC_URL: 'https://keeper.example,https://two.example:8443' },
      'Two.example:8443',
      'https://two.example:8443',
    ],
    ["Railway's domain", { RAILWAY_PUBLIC_DOMAIN: 'k.up.railway.app' }, 'k.up.railway.app', 'https://k.up.railway.app'],
    [
      'the first one for any other Host',
      { PUBLIC_URL: 'https://keeper.example' },
      'evil.example',
      'https://keeper.example',
    ],
    ['the loopback name', {}, 'localhost:8080', 'http://localhost:8080'],
    ['the loopback address', { PUBLIC_URL: 'https://keeper.example' }, '127.0.0.1:3000', 'http://127.0.0.1:3000'],
  ])('comes back to %s', async (_, env, host, origin) => {
    expect(redirectUri({ publicUrls: readConfig(env, '/').publicUrls }, host)).toBe(`${origin}/api/auth/callback`)
  })

  it('comes back to no name that a request makes up', async () => {
    const { keeper } = await startSignedIn()
    const { hostname, port } = new URL(keeper.url)
    const headers = { host: 'evil.example', authorization: `Bearer ${keeper.key}` } // fetch would set its own Host
    const asked = request({ hostname, port, path: '/api/auth/login', headers }).end()
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    expect([answer.resume().statusCode, answer.headers.location]).toEqual([503, undefined])
    const forwarded = { 'x-forwarded-host': 'evil.example', forwarded: 'host=evil.example' }
    const { url } = await begin(keeper, forwarded)
    expect(url.searchParams.get('redirect_uri')).toBe(`${keeper.url}/api/auth/callback`)
  })

  it('keeps its cookie to https where it came by https', async () => {
    const { keeper } = await startSignedIn()
    expect((await begin(keeper, { 'x-forwarded-proto': 'https' })).attributes).toBe(
      'Max-Age=600; Path=/api/auth/callback; HttpOnly; Secure; SameSite=Lax',
    )
  })

  it('has nowhere to come back to by an unknown name', () => {
    expect(redirectUri({ publicUrls: [] }, 'evil.example')).toBeUndefined()
  })

  it('says on the page, and not as JSON, that it cannot begin', async () => {
    const { keeper } = await startSignedIn()
    for (let i = 0; i < 20; i++) expect((await begin(keeper)).status).toBe(302)
    expect((await begin(keeper)).status).toBe(429)
    const { status, url } = await begin(keeper, { accept: 'text/html,*/*' })
    expect([status, url.hash]).toEqual([302, '#sign-in=not_begun'])
    expect((await keeper.json('/api/auth/start', { method: 'POST' })).status).toBe(429)
    const [name = ''] = readdirSync(keeper.cwd).filter((one) => one.startsWith('.yoto_login_') && one.endsWith('.json'))
    const path = join(keeper.cwd, name)
    const expires_at = new Date(Date.now() - 1).toISOString()
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), expires_at }))
    expect((await begin(keeper)).status).toBe(302)
  })
})
