import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, type TestContext } from 'vitest'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { type SeededTokens, type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// KEEPER_ENCRYPTION_KEY in the built service: taken over, rotated, missing, wrong.

const [OLD, NEW] = ['old-key-'.repeat(4), 'new-key-'.repeat(4)] as const
const TOKEN = '.yoto_refresh_token'

interface Scene {
  dir: string
  yoto: StandIn
  first: SeededTokens
  start(encryptionKey?: string, env?: Record<string, string>): Promise<Keeper>
}

/** A plain refresh token, as taken over from elsewhere. */
async function setScene(context: TestContext): Promise<Scene> {
  const yoto = await startStandIn({ interval: 1 })
  const dir = mkdtempSync(join(tmpdir(), 'encryption-'))
  context.onTestFinished(async () => {
    await yoto.stop()
    rmSync(dir, { recursive: true })
  })
  const first = yoto.seed()
  writeFileSync(join(dir, TOKEN), first.refresh_token)
  const start: Scene['start'] = async (encryptionKey = '', env = {}) => {
    const own = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, KEEPER_ENCRYPTION_KEY: encryptionKey }
    const keeper = await startKeeper({ cwd: dir, env: { ...own, ...env } })
    context.onTestFinished(() => void keeper.kill())
    return keeper
  }
  return { dir, yoto, first, start }
}

const askToken = (keeper: Keeper) =>
  keeper.json<{ access_token?: string; error?: string; message?: string }>('/api/token')

/** Every file, by name. */
function stored(dir: string): Record<string, string> {
  const names = readdirSync(dir).filter((name) => /^\.yoto_(?!\w+_lease)/.test(name))
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(dir, name), 'utf8')]))
}

/** A signed-in service has run with this key and has ended. */
async function signedInWith(key: string, { start, yoto }: Scene): Promise<string> {
  const keeper = await start(key)
  const { body } = await askToken(keeper)
  await keeper.stop()
  expect(yoto.counts.refresh_ok).toBe(1)
  return body.access_token ?? ''
}

describe('with a key', () => {
  it('nothing that is stored can be read, and all of it is used after a restart', async (context) => {
    const scene = await setScene(context)
    const { dir, yoto, first } = scene
    const keeper = await scene.start(OLD, { KEEPER_KEY: '' })
    const printed = await waitUntil(() => /#key=(\S+)/.exec(keeper.log())?.[1], { what: 'the link was printed' })
    const authorization = `Bearer ${printed}`
    const unlocked = await keeper.fetch('/api/access/unlock', {
      method: 'POST',
      body: JSON.stringify({ key: printed }),
    })
    const cookie = unlocked.headers.get('set-cookie')?.split(';')[0] ?? ''
    const { body } = await keeper.json<{ access_token: string }>('/api/token', { headers: { authorization } })
    const login = await keeper.json<{ user_code: string }>('/api/auth/start', {
      method: 'POST',
      headers: { authorization },
    })
    await keeper.stop()

    const files = stored(dir)
    expect(Object.keys(files).map((name) => name.replace(/login_\w+/, 'login'))).toEqual([
      ...[
        '.yoto_journal.json',
        '.yoto_keeper_key',
        '.yoto_login.json',
        TOKEN,
        '.yoto_session_secret',
        '.yoto_token_set.json',
      ],
    ])
    for (const [name, text] of Object.entries(files))
      expect(text, name).toMatch(/^eyJ[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/)
    const all = Object.values(files).join('\n')
    for (const secret of [
      first.refresh_token,
      yoto.currentRefreshToken(),
      body.access_token,
      login.body.user_code,
      printed,
    ]) {
      expect(all).not.toContain(secret)
    }

    const again = await scene.start(OLD, { KEEPER_KEY: '' })
    const { access_token } = body
    expect((await again.json('/api/token', { headers: { authorization } })).body).toMatchObject({ access_token })
    expect((await fetch(`${again.url}/api/auth/status`, { headers: { cookie } })).status).toBe(200)
    expect(yoto.counts.refresh_ok).toBe(1)
    expect(again.log()).not.toContain('#key=')
  })

  it('what was plain is taken over: the key and the session secret at once, the tokens at their next save', async (context) => {
    const scene = await setScene(context)
    const plain = await scene.start('', { KEEPER_KEY: '' })
    const key = await waitUntil(() => /#key=(\S+)/.exec(plain.log())?.[1], { what: 'the link was printed' })
    const headers = { authorization: `Bearer ${key}` }
    expect((await plain.json('/api/token', { headers })).status).toBe(200)
    await plain.stop()
    const before = stored(scene.dir)
    expect(before[TOKEN]).toBe(scene.yoto.currentRefreshToken())

    const keeper = await scene.start(OLD, { KEEPER_KEY: '' })
    expect((await keeper.json('/api/token', { headers })).status).toBe(200)
    expect(stored(scene.dir)[TOKEN]).toBe(before[TOKEN])
    await waitUntil(() => stored(scene.dir)['.yoto_keeper_key']?.startsWith('eyJ'), { what: 'the key was encrypted' })
    await waitUntil(
      async () =>
        (await keeper.json('/api/auth/refresh', { method: 'POST', headers })) && scene.yoto.counts.refresh_ok === 2,
      { what: 'the token was refreshed (not within 10 s of the first time)' },
    )
    expect(stored(scene.dir)[TOKEN]).toMatch(/^eyJ/)
    expect(stored(scene.dir)['.yoto_token_set.json']).toMatch(/^eyJ/)
  })

  it('another can take its place, while the old one still opens what it has encrypted', async (context) => {
    const scene = await setScene(context)
    const accessToken = await signedInWith(OLD, scene)
    const both = await scene.start(`${NEW},${OLD}`)
    expect(await askToken(both)).toMatchObject({ status: 200, body: { access_token: accessToken } })
    await waitUntil(
      async () => (await both.json('/api/auth/refresh', { method: 'POST' })) && scene.yoto.counts.refresh_ok === 2,
      { what: 'the token was refreshed (not within 10 s of the first time)' },
    )
    await both.stop()
    const after = await scene.start(NEW)
    expect(await askToken(after)).toMatchObject({ status: 200 })
    expect(scene.yoto.counts).toMatchObject({ refresh_ok: 2, refresh_refused: 0 })
  })
})

describe.each([
  ['the key is missing', '', /KEEPER_ENCRYPTION_KEY is not set/],
  ['the key is another', NEW, /KEEPER_ENCRYPTION_KEY has another key/],
])('where %s', (_, wrong, message) => {
  it('it says so, sends nothing, leaves everything alone, and goes on with the right one', async (context) => {
    const scene = await setScene(context)
    const { dir, yoto } = scene
    const accessToken = await signedInWith(OLD, scene)
    const { '.yoto_journal.json': _, ...before } = stored(dir)
    const counts = { ...yoto.counts }

    const keeper = await scene.start(wrong)
    const refusal = {
      error: 'storage_unavailable',
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/^Set KEEPER_ENCRYPTION_KEY/),
    }
    expect(await askToken(keeper)).toMatchObject({ status: 503, body: refusal })
    expect(await keeper.json('/api/auth/refresh', { method: 'POST' })).toMatchObject({ status: 503, body: refusal })
    expect(await keeper.json('/api/auth/start', { method: 'POST' })).toMatchObject({ status: 503, body: refusal })
    expect(await keeper.json('/api/auth/status')).toMatchObject({
      status: 200,
      body: { authenticated: false, message: refusal.message },
    })
    expect(await keeper.json('/api/ready')).toMatchObject({ status: 503, body: { reason: 'storage_unavailable' } })
    await waitUntil(() => message.test(keeper.log()), { what: 'the log said so' })
    await keeper.stop()

    const { '.yoto_journal.json': __, ...after } = stored(dir)
    expect(after).toEqual(before)
    expect(yoto.counts).toEqual(counts)
    const right = await scene.start(OLD)
    expect(await askToken(right)).toMatchObject({ status: 200, body: { access_token: accessToken } })
  })
})

it('a value that was cut is never taken for a token', async (context) => {
  const scene = await setScene(context)
  await signedInWith(OLD, scene)
  truncateSync(join(scene.dir, TOKEN), 100)
  const keeper = await scene.start(OLD)
  expect(await askToken(keeper)).toMatchObject({ status: 503, body: { message: expect.stringContaining('damaged') } })
  expect(scene.yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
})
