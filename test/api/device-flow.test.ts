import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, type TestContext } from 'vitest'
import { startKeeper } from '../support/keeper-process'
import { type Fault, type StandIn, type StandInOptions, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

/** Signing in by code, against answers as Auth0 gives them. These tests wait for most of their time, and so do it together. */

const TOKEN_FILE = '.yoto_refresh_token'
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code'

const parent = mkdtempSync(join(tmpdir(), 'device-flow-'))
afterAll(() => rmSync(parent, { recursive: true }))

interface Login {
  device_code: string
  user_code: string
  verification_uri: string
}
interface PollAnswer {
  status: 'pending' | 'success' | 'expired' | 'error'
  message: string
  authenticated: boolean
  error?: string
}

/** A stand-in for Yoto, a folder, and the service on it; at the end nothing that was said may hold one of Yoto's device codes. */
async function scene({ onTestFinished }: TestContext, options: StandInOptions & { signedIn?: boolean } = {}) {
  const yoto = await startStandIn({ interval: 1, ...options })
  const cwd = mkdtempSync(join(parent, 'data-'))
  if (options.signedIn) writeFileSync(join(cwd, TOKEN_FILE), yoto.seed().refresh_token)
  const secrets = new Set<string>()
  const said: string[] = []
  const running: Awaited<ReturnType<typeof startKeeper>>[] = []

  function noteSecrets() {
    for (const name of readdirSync(cwd).filter((name) => /^\.yoto_login_.*\.json$/.test(name))) {
      const { device_code } = JSON.parse(readFileSync(join(cwd, name), 'utf8'))
      if (device_code) secrets.add(device_code)
    }
  }

  async function run(clientId = yoto.clientId) {
    const env = { YOTO_CLIENT_ID: clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url }
    const keeper = await startKeeper({ cwd, env })
    running.push(keeper)
    async function ask<T>(method: string, path: string, body?: object) {
      const answer = await keeper.json<T>(path, { method, body: body && JSON.stringify(body) })
      said.push(JSON.stringify(answer.body))
      noteSecrets()
      return answer
    }
    const poll = async ({ device_code }: Login) =>
      (await ask<PollAnswer>('POST', '/api/auth/poll', { device_code })).body
    return {
      ask,
      poll,
      kill: keeper.kill,
      start: async () => (await ask<Login>('POST', '/api/auth/start')).body,
      status: async () => (await ask<Record<string, unknown>>('GET', '/api/auth/status')).body,
      token: async () => (await ask<{ access_token?: string }>('GET', '/api/token')).body.access_token,
      /** Polls until the answer is as wanted, by default: no longer pending. */
      outcome: (
        login: Login,
        { wanted = (answer: PollAnswer) => answer.status !== 'pending', timeout = 15_000 } = {},
      ) =>
        waitUntil(
          async () => {
            const answer = await poll(login)
            return wanted(answer) && answer
          },
          { what: 'the sign-in was as wanted', timeout },
        ),
    }
  }

  onTestFinished(async () => {
    for (const keeper of running) {
      said.push(
        await keeper.fetch('/api/journal').then(
          (answer) => answer.text(),
          () => '',
        ),
      )
      await keeper.kill()
      said.push(keeper.log())
    }
    await yoto.stop()
    for (const secret of secrets) expect(said.join('\n')).not.toContain(secret)
  })

  const keeper = await run()
  if (options.signedIn) await waitUntil(keeper.token, { what: 'there is a token' })
  return { yoto, cwd, run, keeper, secrets }
}

const storedToken = (cwd: string) => readFileSync(join(cwd, TOKEN_FILE), 'utf8')
const gaps = ({ pollTimes }: StandIn) => pollTimes.slice(1).map((time, at) => time - (pollTimes[at] ?? 0))
const polled = (yoto: StandIn, times: number) =>
  waitUntil(() => yoto.pollTimes.length >= times, { what: `Yoto was polled ${times} times` })
/** Milliseconds by which two processes' clocks may differ. */
const TOLERANCE = 100

describe.concurrent('a sign-in by code', () => {
  it.for([403, 400])(
    'is pending (%i) at the pace that Yoto asks for, until a person agrees',
    async (status, context) => {
      const { yoto, cwd, keeper, secrets } = await scene(context)
      const answer: Fault = { kind: 'status-after', status, body: { error: 'authorization_pending' } }
      yoto.inject(answer, { grant_type: DEVICE_GRANT, times: 3 })
      const login = await keeper.start()
      expect(login).toEqual({
        verification_uri: `${yoto.url}/activate`,
        verification_uri_complete: `${yoto.url}/activate?user_code=${login.user_code}`,
        user_code: expect.stringMatching(/^\w{4}-\w{4}$/),
        device_code: expect.stringMatching(/^[0-9a-f]{32}$/),
        expires_in: 300,
        interval: 1,
      })
      expect(await keeper.poll(login)).toMatchObject({ status: 'pending', authenticated: false })
      expect(await keeper.status()).toMatchObject({
        state: 'signed_out',
        login: { device_code: login.device_code, user_code: login.user_code, verification_uri: login.verification_uri },
      })
      expect(secrets.size).toBe(1)
      await polled(yoto, 3)
      expect(await keeper.poll(login)).toMatchObject({ status: 'pending' })

      yoto.approve(login.user_code)
      expect(await keeper.outcome(login)).toMatchObject({ status: 'success', authenticated: true })
      expect(Math.min(...gaps(yoto))).toBeGreaterThan(1_000 - TOLERANCE)
      expect(storedToken(cwd)).toBe(yoto.currentRefreshToken())
      expect(await keeper.token()).toMatch(/^at-/)
      const after = await keeper.status()
      expect(after).toMatchObject({ authenticated: true, state: 'signed_in' })
      expect(after).not.toHaveProperty('login')
    },
  )

  it('slows down by 5 s when Yoto says so, and stays slow', async (context) => {
    const { yoto, keeper } = await scene(context)
    yoto.inject({ kind: 'status-after', status: 429, body: { error: 'slow_down' } }, { grant_type: DEVICE_GRANT })
    const login = await keeper.start()
    await polled(yoto, 1)
    expect(await keeper.poll(login)).toMatchObject({ status: 'pending' })
    await polled(yoto, 2)
    expect(await keeper.status()).toMatchObject({ login: { interval: 6 } })
    yoto.approve(login.user_code)
    expect(await keeper.outcome(login)).toMatchObject({ status: 'success' })
    expect(yoto.pollTimes).toHaveLength(3)
    expect(Math.min(...gaps(yoto))).toBeGreaterThan(6_000 - TOLERANCE)
  })

  it.for([
    ['expire', 'expired', 'expired_token'],
    ['deny', 'error', 'access_denied'],
  ] as const)(
    'that ends with %s says so, to late polls and after a restart too',
    async ([how, status, error], context) => {
      const { yoto, keeper, run } = await scene(context)
      const login = await keeper.start()
      yoto[how](login.user_code)
      const outcome = await keeper.outcome(login)
      expect(outcome).toMatchObject({ status, error, authenticated: false })
      expect(await keeper.status()).not.toHaveProperty('login')
      const polls = yoto.counts.polls

      expect(await keeper.poll(login)).toEqual(outcome)
      await keeper.kill()
      const restarted = await run()
      expect(await restarted.poll(login)).toEqual(outcome)
      expect(yoto.counts.polls).toBe(polls)
      expect(await restarted.status()).toMatchObject({ state: 'signed_out' })
    },
  )

  it('is never pending once its code has run out, however rarely Yoto may be asked', async (context) => {
    const { yoto, keeper } = await scene(context, { interval: 30, deviceCodeTtl: 2 })
    const login = await keeper.start()
    expect(await keeper.outcome(login, { timeout: 5_000 })).toMatchObject({ status: 'expired' })
    expect(await keeper.status()).not.toHaveProperty('login')
    expect(yoto.counts.polls).toBe(0)
  })

  it('survives kill -9, and needs nobody to poll for it', async (context) => {
    const { yoto, cwd, keeper, run } = await scene(context)
    const login = await keeper.start()
    await polled(yoto, 1)
    await keeper.kill()

    const restarted = await run()
    yoto.approve(login.user_code)
    await waitUntil(async () => (await restarted.status()).authenticated, { what: 'somebody is signed in' })
    expect(storedToken(cwd)).toBe(yoto.currentRefreshToken())
    expect(await restarted.outcome(login)).toMatchObject({ status: 'success', authenticated: true })
    expect(Math.min(...gaps(yoto))).toBeGreaterThan(500) // counted from the sending, as nobody lived to see the answer
  })

  it('that ran out while the service was down is over, even if that was killed in the middle of a poll', async (context) => {
    const { yoto, keeper, run } = await scene(context, { deviceCodeTtl: 8 })
    const poll = yoto.hold({ grant_type: DEVICE_GRANT })
    const login = await keeper.start()
    const end = Date.now() + 8_000
    await poll.reached
    await keeper.kill()
    poll.release()
    await waitUntil(() => Date.now() > end, { what: 'the code had run out' })
    const restarted = await run()
    expect(await restarted.outcome(login, { timeout: 3_000 })).toMatchObject({ status: 'expired' })
  })

  it('does not disturb another', async (context) => {
    const { yoto, cwd, keeper } = await scene(context)
    const [one, other] = [await keeper.start(), await keeper.start()]
    expect(one.device_code).not.toBe(other.device_code)
    yoto.deny(one.user_code)
    expect(await keeper.outcome(one)).toMatchObject({ status: 'error', error: 'access_denied' })
    expect(await keeper.poll(other)).toMatchObject({ status: 'pending' })
    yoto.approve(other.user_code)
    expect(await keeper.outcome(other)).toMatchObject({ status: 'success' })
    expect(await keeper.poll(one)).toMatchObject({ status: 'error', error: 'access_denied' })
    expect(storedToken(cwd)).toBe(yoto.currentRefreshToken())
  })

  it('is polled by one of two processes, at the pace of one', async (context) => {
    const { yoto, keeper, run } = await scene(context)
    const other = await run()
    const began = performance.now()
    const login = await keeper.start()
    expect(await other.poll(login)).toMatchObject({ status: 'pending' })
    await polled(yoto, 3)
    yoto.approve(login.user_code)
    expect(await other.outcome(login)).toMatchObject({ status: 'success' })
    expect(await keeper.outcome(login)).toMatchObject({ status: 'success' })
    // From the beginning, not from one to the next: what arrives late under load is not what was sent too soon.
    for (const [at, time] of yoto.pollTimes.entries()) {
      expect(time - began, `poll ${at + 1}`).toBeGreaterThan((at + 1) * 1_000 - TOLERANCE)
    }
    // The one that did not poll may be looking at the store for the last time before; it answers 409 then, for a moment (DESIGN, rule 10).
    const same = async () => {
      const [one, another] = [await keeper.token(), await other.token()]
      return one !== undefined && one === another
    }
    await waitUntil(same, { what: 'both give out the same' })
    expect(yoto.counts.refresh_ok).toBe(0)
  })

  it('keeps the pace of one though a poll was long on its way', async (context) => {
    const { yoto, keeper, run } = await scene(context)
    const other = await run()
    yoto.inject({ kind: 'delay', ms: 900 }, { grant_type: DEVICE_GRANT, times: 3 })
    const login = await keeper.start()
    await other.poll(login) // from now on both poll it
    await polled(yoto, 4)
    expect(Math.min(...gaps(yoto))).toBeGreaterThan(1_000 - TOLERANCE)
    expect(await keeper.status()).toMatchObject({ login: { interval: 1 } })
  })

  it('replaces the one before, which is revoked', async (context) => {
    const { yoto, cwd, keeper } = await scene(context, { signedIn: true })
    const [before, token] = [storedToken(cwd), await keeper.token()]
    const login = await keeper.start()
    yoto.approve(login.user_code)
    expect(await keeper.outcome(login)).toMatchObject({ status: 'success' })
    await waitUntil(() => yoto.isRevoked(before), { what: 'the old sign-in was revoked' })
    expect(yoto.isRevoked(storedToken(cwd))).toBe(false)
    expect(await keeper.token()).not.toBe(token)
  })

  const withoutField = (field: string): Fault => ({
    kind: 'replace-json',
    map: (body) => ({ ...body, [field]: undefined }),
  })
  it.for<[string, Fault | undefined, Partial<PollAnswer>, RegExp]>([
    ['was denied', undefined, { error: 'access_denied' }, /denied/],
    ['brought no refresh token', withoutField('refresh_token'), {}, /no refresh token.*offline_access/],
    ['brought no access token', withoutField('access_token'), { error: 'yoto_error' }, /access_token/],
    ['was lost on its way', { kind: 'reset-after' }, { error: 'invalid_grant' }, /./],
  ])('that %s leaves the old sign-in alone', async ([, fault, expected, message], context) => {
    const { yoto, cwd, keeper } = await scene(context, { signedIn: true })
    const [before, token] = [storedToken(cwd), await keeper.token()]
    const login = await keeper.start()
    if (fault) yoto.inject(fault, { grant_type: DEVICE_GRANT })
    yoto[fault ? 'approve' : 'deny'](login.user_code)
    const outcome = await keeper.outcome(login)
    expect(outcome).toMatchObject({ status: 'error', authenticated: true, ...expected })
    expect(outcome.message).toMatch(message)

    expect(await keeper.token()).toBe(token)
    expect(storedToken(cwd)).toBe(before)
    expect(yoto.isRevoked(before)).toBe(false)
    expect(await keeper.status()).toMatchObject({ authenticated: true, state: 'signed_in' })
  })

  it.for<[string, Fault]>([
    ['silence', { kind: 'timeout' }],
    ['a broken connection', { kind: 'reset-before' }],
    ['500', { kind: 'status', status: 500, body: 'Oops' }],
    ['HTML', { kind: 'html-200' }],
    ['a firewall', { kind: 'status', status: 403, body: '<h1>Blocked</h1>' }],
    ['429 and a time to wait', { kind: 'status', status: 429, headers: { 'retry-after': '2' } }],
  ])('waits it out when a poll is answered with %s', async ([, fault], context) => {
    const { yoto, keeper } = await scene(context)
    yoto.inject(fault, { grant_type: DEVICE_GRANT })
    const login = await keeper.start()
    yoto.approve(login.user_code)
    const troubled = await keeper.outcome(login, { wanted: ({ message }) => message.includes('Still trying') })
    expect(troubled).toMatchObject({ status: 'pending' })
    expect(await keeper.outcome(login)).toMatchObject({ status: 'success' })
  })

  it('waits until Yoto can be reached again', async (context) => {
    const { yoto, keeper } = await scene(context)
    const login = await keeper.start()
    await yoto.pause()
    const troubled = await keeper.outcome(login, { wanted: ({ message }) => message.includes('ECONNREFUSED') })
    expect(troubled).toMatchObject({ status: 'pending' })
    expect((await keeper.ask('POST', '/api/auth/start')).body).toMatchObject({ error: 'yoto_unreachable' })
    await yoto.resume()
    yoto.approve(login.user_code)
    expect(await keeper.outcome(login)).toMatchObject({ status: 'success' })
  })

  it('is refused to an unknown client, with the mend', async (context) => {
    const { run } = await scene(context)
    const keeper = await run('unknown')
    expect(await keeper.ask('POST', '/api/auth/start')).toMatchObject({
      status: 502,
      body: {
        error: 'yoto_error',
        message: expect.stringContaining('invalid_client'),
        hint: expect.stringContaining('yoto.dev'),
      },
    })
    expect(await keeper.status()).not.toHaveProperty('login')
  })

  it('is one of 20 at most', async (context) => {
    const { yoto, keeper } = await scene(context)
    const answers = await Promise.all(Array.from({ length: 23 }, () => keeper.ask<Login>('POST', '/api/auth/start')))
    const begun = answers.filter(({ status }) => status === 200).map(({ body }) => body)
    expect(begun).toHaveLength(20)
    expect(yoto.counts.device).toBe(20)
    const refused = answers.filter(({ status }) => status === 429)
    expect(refused).toHaveLength(3)
    for (const { body, headers } of refused) {
      expect(body).toMatchObject({ error: 'too_many_requests', hint: expect.any(String) })
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    }
    const [first] = begun as [Login]
    yoto.deny(first.user_code)
    await keeper.outcome(first)
    expect((await keeper.ask('POST', '/api/auth/start')).status).toBe(200)
  })
})
