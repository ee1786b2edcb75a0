import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FOR_REFRESH, type Scene, setScene } from '../faults/scene'
import type { Keeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

// What programs ask for most: a token, in the form they want, with as much life as they need.

const HOUR = 3_600
const TOOL = 'tool-key-0123456789'
const env = { KEEPER_TOOL_KEYS: `tool:${TOOL}` }

interface Token {
  access_token: string
  expires_in: number
}

/** For tests that leave the sign-in as it is. */
let shared: Scene & { keeper: Keeper }
const cleanUps: (() => unknown)[] = []
beforeAll(async () => {
  const scene = await setScene({ onTestFinished: (clean) => cleanUps.unshift(clean) }, 'valid')
  shared = { ...scene, keeper: await scene.start(env) }
})
afterAll(async () => {
  for (const clean of cleanUps) await clean()
})

const ask = (keeper: Keeper, query = '') => keeper.json<Token>(`/api/token${query}`)

describe('the form of a token', () => {
  it.each([
    ['text/plain', 'text'],
    ['text/plain; charset=utf-8', 'text'],
    ['text/*', 'text'],
    ['TEXT/PLAIN, application/json;q=0.5', 'text'],
    ['application/json;q=0, */*', 'text'],
    [undefined, 'json'],
    ['*/*', 'json'],
    ['application/json', 'json'],
    ['application/json, text/plain', 'json'],
    ['application/json, text/plain;q=0.9, */*;q=0.1', 'json'],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'json'],
    ['text/plain;q=0', 'json'],
    ['image/png', 'json'],
    [';;,=', 'json'],
  ])('Accept: %s is answered with %s', async (accept, form) => {
    const { keeper, first } = shared
    const answer = await keeper.fetch('/api/token', { headers: accept === undefined ? {} : { accept } })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('vary')).toBe('accept')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const body = await answer.text()
    if (form === 'text') {
      expect(answer.headers.get('content-type')).toBe('text/plain; charset=utf-8')
      expect(body).toBe(first.access_token)
    } else {
      expect(answer.headers.get('content-type')).toBe('application/json')
      expect(JSON.parse(body)).toMatchObject({ access_token: first.access_token, token_type: 'Bearer' })
    }
  })

  it('says what is left of it now, to later callers less', async () => {
    const { keeper } = shared
    const { expires_in } = (await ask(keeper)).body
    const later = async () => (await ask(keeper)).body.expires_in < expires_in
    await waitUntil(later, { what: 'less was left' })
  })

  it('lets a shell take it with TOKEN=$(curl …), and see a failure as one', async (context) => {
    const scene = await setScene(context, 'valid')
    const keeper = await scene.start(env)
    const script =
      'TOKEN=$(curl -fsS -H "Authorization: Bearer $KEY" -H "Accept: text/plain" "$URL/api/token") && printf "[%s]" "$TOKEN"'
    const shell = () =>
      promisify(execFile)('sh', ['-c', script], { env: { ...process.env, KEY: TOOL, URL: keeper.url } })
    expect((await shell()).stdout).toBe(`[${scene.first.access_token}]`)
    await keeper.json('/api/auth/logout', { method: 'POST' })
    await expect(shell()).rejects.toMatchObject({ code: 22, stdout: '', stderr: expect.stringContaining('409') })
  })

  it('of an error is JSON, whatever was asked for', async (context) => {
    const scene = await setScene(context, 'valid')
    const keeper = await scene.start(env)
    await keeper.json('/api/auth/logout', { method: 'POST' })
    const { status, body, headers } = await keeper.json('/api/token', { headers: { accept: 'text/plain' } })
    expect({ status, body }).toMatchObject({ status: 409, body: { error: 'signed_out', hint: expect.any(String) } })
    expect(headers.get('keeper-error')).toBe('signed_out')
  })
})

describe('min_ttl', () => {
  it('is met from memory where the token has that much left, and by one refresh where it has not', async (context) => {
    const { yoto, start, first } = await setScene(context, 'valid') // 23 of its 24 hours are left
    const keeper = await start(env)
    for (const enough of ['', '?min_ttl=0', '?min_ttl=1', `?min_ttl=${22 * HOUR}`]) {
      expect((await ask(keeper, enough)).body.access_token).toBe(first.access_token)
    }
    expect(yoto.counts.refresh_ok).toBe(0)
    const { body } = await ask(keeper, `?min_ttl=${23.5 * HOUR}`)
    expect(body.access_token).not.toBe(first.access_token)
    expect(body.expires_in).toBeGreaterThanOrEqual(23.5 * HOUR)
    expect(yoto.counts.refresh_ok).toBe(1)
  })

  it('of more than Yoto issues is met as far as can be, and not by one refresh after the other', async (context) => {
    const { yoto, start } = await setScene(context, 'valid')
    const keeper = await start(env)
    for (let times = 0; times < 5; times++) {
      const { status, body } = await ask(keeper, `?min_ttl=${100 * HOUR}`)
      expect(status).toBe(200)
      expect(body.expires_in).toBeGreaterThan(23.9 * HOUR)
    }
    expect(yoto.counts.refresh_ok).toBe(1)
  })

  it('of 1,000 callers at once is met by one refresh', async (context) => {
    const { yoto, start } = await setScene(context, 'valid')
    const keeper = await start(env)
    const refresh = yoto.hold(FOR_REFRESH)
    const answers = Array.from({ length: 1_000 }, () => ask(keeper, `?min_ttl=${24 * HOUR - 60}`))
    await refresh.reached
    refresh.release()
    const tokens = new Set((await Promise.all(answers)).map(({ body }) => body.access_token))
    expect(tokens.size).toBe(1)
    expect(yoto.counts.refresh_ok).toBe(1)
  })

  it('that cannot be met, as Yoto is away, is answered with the token there is, and how long it lasts', async (context) => {
    const { yoto, start, first } = await setScene(context, 'valid')
    const keeper = await start(env)
    await yoto.pause()
    const { status, body } = await ask(keeper, `?min_ttl=${23.5 * HOUR}`)
    expect({ status, token: body.access_token }).toEqual({ status: 200, token: first.access_token })
    expect(body.expires_in).toBeLessThan(23.5 * HOUR)
  })

  it.each(['-1', '1.5', 'x', '', '1e3', '99999999999', '1&min_ttl=2', '%20'])('%s is refused', async (value) => {
    const { keeper } = shared
    expect(await ask(keeper, `?min_ttl=${value}`)).toMatchObject({ status: 400, body: { error: 'bad_request' } })
  })
})

it('1,000 tools that saw a 401 ask for a refresh at once: one is made', async (context) => {
  const { yoto, start, first } = await setScene(context, 'valid')
  const keeper = await start(env)
  const storm = Array.from({ length: 1_000 }, () => keeper.json('/api/auth/refresh', { method: 'POST' }))
  const answers = await Promise.all(storm)
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
  expect(answers[0]?.body).toMatchObject({ authenticated: true, state: 'signed_in' })
  expect(yoto.counts.refresh_ok).toBe(1)
  expect((await ask(keeper)).body.access_token).not.toBe(first.access_token)
})
