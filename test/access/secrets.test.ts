import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { PAGE_FILES } from '../../server/page/files'
import { arrivals } from '../faults/scene'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// A whole life of the service, with a secret planted wherever there can be one: none turns up where it does not belong.

const PLANTED = {
  'client secret': 'planted-client-secret',
  "owner's key": 'planted-owner-key-0123',
  "tool's key": 'planted-tool-key-0123',
  'encryption key': 'planted-encryption-key-0123456789',
  'wrong key': 'planted-wrong-key-0123',
  'topic that the owner is told at': 'planted-topic-0123',
  'query, body or header': 'planted-by-a-caller',
}

/** What was answered, and where: an answer that must carry a secret is looked at without it. */
interface Said {
  where: string
  text: string
}

function record(keeper: Keeper, said: Said[]) {
  return async (path: string, init: RequestInit = {}): Promise<Record<string, string>> => {
    const answer = await keeper.fetch(path, init)
    const text = await answer.text()
    const head = JSON.stringify([...answer.headers].filter(([name]) => name !== 'set-cookie'))
    said.push({ where: `${init.method ?? 'GET'} ${path.split('?')[0]}`, text: `${head}\n${text}` })
    return text.startsWith('{') ? JSON.parse(text) : {}
  }
}

const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  body: JSON.stringify(body),
  headers: { 'content-type': 'application/json', ...headers },
})

/** Where a secret belongs. */
const ALLOWED: Record<string, RegExp> = {
  'access token': /^GET \/api\/token$/,
  'user code': /^(POST \/api\/auth\/start|GET \/api\/auth\/status)$/,
  'handle of a sign-in': /^(POST \/api\/auth\/start|GET \/api\/auth\/status)$/,
}

it('no secret is logged, told, kept in the journal, shown on the page or sent in a URL', async (context) => {
  const dir = mkdtempSync(join(tmpdir(), 'secrets-'))
  const since = performance.now()
  const yoto = await startStandIn({ interval: 1 })
  context.onTestFinished(async () => {
    await yoto.stop()
    rmSync(dir, { recursive: true })
  })
  const env = {
    YOTO_CLIENT_ID: yoto.clientId,
    YOTO_CLIENT_SECRET: PLANTED['client secret'],
    YOTO_AUTH_URL: yoto.url,
    KEEPER_KEY: PLANTED["owner's key"],
    KEEPER_TOOL_KEYS: `tool:${PLANTED["tool's key"]}`,
    NOTIFY_URL: `http://127.0.0.1:9/${PLANTED['topic that the owner is told at']}`, // nobody listens
  }
  const said: Said[] = []
  const secrets: Record<string, string> = { ...PLANTED }
  const logs: string[] = []

  // Plain first, so that what is stored can be looked at.
  const keeper = await startKeeper({ cwd: dir, env })
  const ask = record(keeper, said)
  const cookie = await unlock(keeper)
  secrets.cookie = cookie.split('=')[1] ?? ''
  secrets['session secret'] = readFileSync(join(dir, '.yoto_session_secret'), 'utf8')

  const login = await ask('/api/auth/start', { method: 'POST' })
  secrets['user code'] = login.user_code ?? ''
  secrets['handle of a sign-in'] = login.device_code ?? ''
  secrets['device code'] = storedDeviceCode(dir)
  for (const meaning of ['refused', 'no'] as const) await signInBrowser(keeper, yoto, dir, said, secrets, meaning)
  await ask('/api/auth/status')
  await askAmiss(ask)
  quote(yoto, secrets['client secret'], secrets['device code'])
  yoto.approve(login.user_code ?? '')
  const poll = () => ask('/api/auth/poll', post({ device_code: login.device_code }))
  await waitUntil(async () => (await poll()).status === 'success', { what: 'the sign-in had succeeded' })
  secrets['first refresh token'] = yoto.currentRefreshToken()
  secrets['access token'] = (await ask('/api/token')).access_token ?? ''

  // Yoto's errors quote what they were sent, as some servers' do.
  quote(yoto, secrets['client secret'], secrets['first refresh token'])
  const refreshed = async () => {
    await ask('/api/auth/refresh', { method: 'POST' })
    return yoto.counts.refresh_ok === 1
  }
  await waitUntil(refreshed, { timeout: 30_000, what: 'the token had been refreshed, 10 s after it was issued' })
  secrets['refresh token'] = yoto.currentRefreshToken()
  await signInBrowser(keeper, yoto, dir, said, secrets, 'granted')
  secrets['refresh token of the browser'] = yoto.currentRefreshToken()
  await ask('/api/auth/status')
  await askAmiss(ask)
  for (const path of [...PAGE_FILES, '/api/journal', '/api/doctor', '/api/ready', '/api/health']) await ask(path)
  await ask('/api/access/lock', { method: 'POST' })
  await keeper.stop()
  const journal = readFileSync(join(dir, '.yoto_journal.json'), 'utf8')
  logs.push(keeper.log())

  // Encrypted, signed out; then with every secret variable wrong.
  const encrypted = await startKeeper({ cwd: dir, env: { ...env, KEEPER_ENCRYPTION_KEY: PLANTED['encryption key'] } })
  const askAgain = record(encrypted, said)
  await askAgain('/api/token')
  await askAgain('/api/auth/logout', { method: 'POST' })
  await askAgain('/api/journal')
  await encrypted.stop()
  logs.push(encrypted.log())
  const wrong = await startKeeper({ cwd: dir, env: { ...env, KEEPER_ENCRYPTION_KEY: 'x'.repeat(32) } })
  const askWrong = record(wrong, said)
  for (const path of ['/api/token', '/api/auth/status', '/api/journal', '/api/doctor']) await askWrong(path)
  await wrong.stop()
  logs.push(wrong.log())
  for (const name of [
    'YOTO_CLIENT_SECRET',
    'KEEPER_KEY',
    'KEEPER_TOOL_KEYS',
    'KEEPER_ENCRYPTION_KEY',
    'CORS_ORIGIN',
    'NOTIFY_URL',
  ]) {
    const broken = { ...env, [name]: `${PLANTED['query, body or header']} \u00e9` }
    logs.push(
      await startKeeper({ cwd: dir, env: broken }).then(
        () => 'it started',
        (error) => error.message,
      ),
    )
    expect(logs.at(-1)).toContain(name)
  }

  const urls = arrivals(yoto.url, '/oauth/token', since)
  expect(urls.length).toBeGreaterThan(3) // an address with a query is none of these
  expect(yoto.counts.polls + yoto.counts.refresh_ok + yoto.counts.refresh_refused).toBeLessThanOrEqual(urls.length)
  const places = [...said, { where: 'the journal file', text: journal }, { where: 'the log', text: logs.join('\n') }]
  expect(places.length).toBeGreaterThan(40)
  for (const [name, secret] of Object.entries(secrets)) {
    expect(secret, name).toMatch(/.{8,}/)
    const found = places.filter(({ where, text }) => text.includes(secret) && !ALLOWED[name]?.test(where))
    expect(
      found.map(({ where }) => where),
      name,
    ).toEqual([])
  }
  // Each is found where it belongs, so that it would be found elsewhere too.
  for (const [name, place] of Object.entries(ALLOWED)) {
    expect(
      places.some(({ where, text }) => place.test(where) && text.includes(secrets[name] ?? '')),
      name,
    ).toBe(true)
  }
})

async function unlock(keeper: Keeper): Promise<string> {
  const answer = await fetch(`${keeper.url}/api/access/unlock`, post({ key: keeper.key }))
  return answer.headers.get('set-cookie')?.split(';')[0] ?? ''
}

/** There and back; Yoto agrees, refuses the code and quotes all that it was sent, or sends an error back. */
async function signInBrowser(
  keeper: Keeper,
  yoto: StandIn,
  dir: string,
  said: Said[],
  secrets: Record<string, string>,
  how: 'granted' | 'refused' | 'no',
): Promise<void> {
  const there = await keeper.fetch('/api/auth/login', { redirect: 'manual' })
  const state = new URL(there.headers.get('location') ?? '').searchParams.get('state') ?? ''
  const cookie = there.headers.get('set-cookie')?.split(';')[0] ?? ''
  const code = yoto.authorize()
  const { code_verifier } = JSON.parse(readFileSync(join(dir, `.yoto_login_${state}.json`), 'utf8'))
  Object.assign(secrets, {
    [`state, ${how}`]: state,
    [`code, ${how}`]: code,
    [`code verifier, ${how}`]: code_verifier,
    [`login cookie, ${how}`]: cookie.split('=')[1],
  })
  if (how === 'refused') {
    const body = {
      error: 'invalid_grant',
      error_description: `No: ${code} ${code_verifier} ${PLANTED['client secret']}`,
    }
    yoto.inject({ kind: 'status', status: 403, body }, { grant_type: 'authorization_code' })
  }
  const query = new URLSearchParams(how === 'no' ? { state, code, error: 'access_denied' } : { state, code })
  for (let i = 0; i < 2; i++) {
    const back = await fetch(`${keeper.url}/api/auth/callback?${query}`, { redirect: 'manual', headers: { cookie } })
    said.push({ where: 'GET /api/auth/callback', text: `${back.headers.get('location')} ${await back.text()}` })
  }
}

function storedDeviceCode(dir: string): string {
  const name = readdirSync(dir).find((one) => one.startsWith('.yoto_login_')) ?? ''
  return JSON.parse(readFileSync(join(dir, name), 'utf8')).device_code
}

/** Requests that are wrong in every way, with secrets in all of their parts. */
async function askAmiss(ask: ReturnType<typeof record>): Promise<void> {
  const [wrong, planted] = [PLANTED['wrong key'], PLANTED['query, body or header']]
  const key = PLANTED["owner's key"]
  await ask(`/api/token?access_token=${planted}&key=${key}&min_ttl=${planted}`)
  await ask(`/api/${planted}?key=${key}`.replace(planted, 'nothing'))
  await ask('/api/token', { headers: { authorization: `Bearer ${wrong}` } })
  await ask('/api/token', { headers: { authorization: `Basic ${wrong}`, cookie: `keeper_session=${wrong}` } })
  await ask('/api/auth/status', { headers: { authorization: `Bearer ${PLANTED["tool's key"]}` } })
  await ask('/api/access/unlock', post({ key: wrong }))
  await ask('/api/access/unlock', post({ key: [planted] }))
  await ask('/api/access/unlock', post({ key: PLANTED["tool's key"] }))
  await ask('/api/access/unlock', { method: 'POST', body: `{"key":"${planted}` })
  await ask('/api/access/unlock', post({ key: planted.repeat(2_000) }))
  await ask('/api/auth/poll', post({ device_code: planted }))
  await ask('/api/auth/poll', post({ [planted]: planted }))
  await ask('/api/auth/status', { headers: { origin: `https://${planted}.example`, authorization: '' } })
  await ask('/api/token', { method: 'DELETE', headers: { 'x-api-key': planted } })
}

/** The next two answers of the token endpoint are errors, and quote this. */
function quote(yoto: StandIn, ...sent: (string | undefined)[]): void {
  const body = { error: 'temporarily_unavailable', error_description: `Not for ${sent.join(' and ')}.` }
  yoto.inject({ kind: 'status', status: 503, body })
  yoto.inject({ kind: 'status', status: 503, body: `<h1>${sent.join(' ')}</h1>` })
}
