import { readdirSync } from 'node:fs'
import { describe, expect, it, type TestContext } from 'vitest'
import {
  type AccessToken,
  askReady,
  askStatus,
  askToken,
  expectWorkingToken,
  FOR_REFRESH,
  RECORD,
  refresh,
  settle,
  signIn,
  signOut,
  TOKEN,
  valuesOf,
} from '../faults/scene'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { type RedisServer, type RedisServerOptions, startRedis } from '../support/redis'
import { type StandIn, startStandIn } from '../support/stand-in'
import { startUpstashAdapter } from '../support/upstash-adapter'
import { waitUntil } from '../support/wait-until'

// The built server with its state in Redis.

const PASSWORD = 'hush-hush'

interface Scene {
  yoto: StandIn
  redis: RedisServer
  /** The access token that is stored at the beginning. */
  first: string
  stored(key: string): Promise<string | null>
  start(env?: Record<string, string>): Promise<Keeper>
}

async function setScene(context: TestContext, access: AccessToken | 'nobody', options: RedisServerOptions = {}) {
  const yoto = await startStandIn({ interval: 1 })
  context.onTestFinished(() => yoto.stop())
  const redis = await startRedis({ password: PASSWORD, ...options })
  context.onTestFinished(() => redis.stop())
  const tokens = yoto.seed()
  if (access !== 'nobody') {
    for (const [key, value] of valuesOf(yoto, tokens, access)) await redis.client.set(`production:${key}`, value)
  }
  const scene: Scene = {
    yoto,
    redis,
    first: tokens.access_token,
    stored: (key) => redis.client.get(`production:${key}`),
    async start(env = {}) {
      const own = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url }
      const keeper = await startKeeper({ env: { ...own, REDIS_URL: redis.url, ...env } })
      context.onTestFinished(async () => {
        await keeper.kill()
        expect(keeper.log()).not.toContain(PASSWORD)
        expect(readdirSync(keeper.cwd)).toEqual([])
      })
      await askStatus(keeper)
      return keeper
    },
  }
  return scene
}

const isReady = (keeper: Keeper) => async () => (await askReady(keeper)).status === 200

describe.concurrent('state in Redis', () => {
  it('survives kill -9: the same token, no refresh; and ends with a sign-out', async (context) => {
    const { yoto, redis, stored, start } = await setScene(context, 'nobody', { durable: true })
    const keeper = await start()
    await signIn(keeper, yoto)
    const token = await expectWorkingToken(keeper, yoto)
    expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
    expect((await askStatus(keeper)).storage).toEqual({ place: `Redis at 127.0.0.1:${redis.port}`, persistent: true })
    await keeper.kill('SIGKILL')
    const again = await start()
    expect(await expectWorkingToken(again, yoto)).toBe(token)
    expect(yoto.counts.refresh_ok).toBe(0)
    await signOut(again)
    expect(await stored(TOKEN)).toBeNull()
  })

  it('makes one key for all instances where none is set, without a volume on Railway', async (context) => {
    const { redis, start } = await setScene(context, 'nobody')
    const env = { KEEPER_KEY: '', RAILWAY_ENVIRONMENT_NAME: 'staging' }
    const keepers = await Promise.all([start(env), start(env)])
    const links = await Promise.all(
      keepers.map((keeper) =>
        waitUntil(() => /#key=(\w+)/.exec(keeper.log())?.[1], { what: 'the link had been printed' }),
      ),
    )
    expect(links[0]).toBe(links[1])
    expect(await redis.client.get('staging:.yoto_keeper_key')).toContain(links[0])
  })

  it('that is away goes on being served from memory, says so, and loses nothing', async (context) => {
    const { yoto, redis, first, stored, start } = await setScene(context, 'valid', { durable: true })
    const keeper = await start()
    expect((await askToken(keeper)).body.access_token).toBe(first)
    await redis.kill()
    await waitUntil(async () => !(await isReady(keeper)()), { what: 'the service was not ready' })
    expect((await askReady(keeper)).body).toEqual({ ready: false, reason: 'storage_unavailable' })
    expect((await askToken(keeper)).body.access_token).toBe(first)
    const began = performance.now()
    expect(await refresh(keeper)).toMatchObject({ status: 503, body: { error: 'storage_unavailable' } })
    expect(performance.now() - began).toBeLessThan(3_000)
    expect(await askStatus(keeper)).toMatchObject({ authenticated: true, hint: expect.stringContaining('REDIS_URL') })
    expect(yoto.counts.refresh_ok + yoto.counts.refresh_refused).toBe(0)

    await redis.start()
    await waitUntil(isReady(keeper), { what: 'the service was ready again' })
    await waitUntil(() => yoto.counts.refresh_ok === 1, { what: 'the refresh that was asked for had been made' })
    await expectWorkingToken(keeper, yoto)
    expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
  })

  it('that goes away during a refresh is held in memory until it is back', async (context) => {
    const { yoto, redis, stored, start } = await setScene(context, 'valid', { durable: true })
    const keeper = await start()
    const held = yoto.hold(FOR_REFRESH)
    const answer = refresh(keeper)
    await held.reached
    await redis.kill()
    held.release()
    await answer
    await expectWorkingToken(keeper, yoto)
    expect((await askReady(keeper)).body).toEqual({ ready: false, reason: 'not_saved' })
    await redis.start()
    await waitUntil(isReady(keeper), { what: 'the service was ready again' })
    expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
    expect(yoto.counts.refresh_ok).toBe(1)
    await expectWorkingToken(keeper, yoto)
  })

  it('that comes back empty is given what is in memory', async (context) => {
    const { first, redis, stored, start } = await setScene(context, 'valid')
    const keeper = await start()
    const before = (await stored(TOKEN))?.trim()
    await redis.kill()
    await redis.start()
    await waitUntil(async () => (await stored(RECORD))?.includes(first), { what: 'the record was saved again' })
    expect(await stored(TOKEN)).toBe(before)
    expect((await askToken(keeper)).body.access_token).toBe(first)
    await waitUntil(() => keeper.log().includes('saved_again'), { what: 'the log said so' })
  })

  it('is refreshed once by two processes', async (context) => {
    const { yoto, stored, start } = await setScene(context, 'expired')
    const held = yoto.hold(FOR_REFRESH)
    const keepers = await Promise.all([start(), start()])
    const asked = keepers.flatMap((keeper) => [keeper, keeper]).map(askToken)
    await held.reached
    for (const keeper of keepers) await settle(keeper)
    held.release()
    const tokens = await Promise.all(asked)
    expect(new Set(tokens.map(({ body }) => body.access_token)).size).toBe(1)
    for (const keeper of keepers) await expectWorkingToken(keeper, yoto)
    expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0, refresh_reused: 0 })
    expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
  })

  it('that was signed out by one process is so for the other within 10 seconds', async (context) => {
    const { start } = await setScene(context, 'valid')
    const [one, two] = await Promise.all([start(), start()])
    await signOut(one)
    const isSignedOut = async () => (await askToken(two)).status === 409
    await waitUntil(isSignedOut, { what: 'the other noticed', timeout: 10_000 })
  })

  it('with a wrong password is told at the start, and the service goes on', async (context) => {
    const { redis, start } = await setScene(context, 'valid')
    const keeper = await start({ REDIS_URL: `redis://:another-hush@127.0.0.1:${redis.port}` })
    expect((await askReady(keeper)).body).toEqual({ ready: false, reason: 'storage_unavailable' })
    const { body } = await askToken(keeper)
    expect(body).toMatchObject({ error: 'storage_unavailable', hint: 'Check the password in REDIS_URL.' })
    expect(keeper.log()).not.toContain('another-hush')
  })

  it('that forgets says so at the start, in the status and to the doctor, and that it does no longer', async (context) => {
    const { redis, start } = await setScene(context, 'valid')
    const keeper = await start()
    const place = `Redis at 127.0.0.1:${redis.port}`
    const warning = expect.stringMatching(
      `^${place} keeps what is stored in memory only: .* Turn its append-only file on`,
    )
    const { problem, state, authenticated, storage } = await askStatus(keeper)
    expect({ problem, state, authenticated, storage }).toEqual({
      problem: 'not_durable',
      state: 'signed_in',
      authenticated: true,
      storage: { place, persistent: false, warning },
    })
    expect(keeper.log()).toContain(`${place} keeps what is stored in memory only`)
    expect(await askReady(keeper)).toMatchObject({ status: 200 })
    const look = async () => {
      const { checks } = await (await keeper.fetch('/api/doctor')).json()
      return checks.find(({ name }: { name: string }) => name === 'durability')
    }
    expect(await look()).toMatchObject({ ok: false, hint: expect.stringContaining('config set appendonly yes') })
    expect(keeper.log().match(/in memory only/g), 'said once').toHaveLength(1)

    await redis.client.config('SET', 'appendonly', 'yes')
    expect(await look()).toMatchObject({
      ok: true,
      message: `${place} keeps an append-only file, flushed at every write.`,
    })
    const now = await askStatus(keeper)
    expect(now.problem).toBeUndefined()
    expect(now.storage).toEqual({ place, persistent: true })
    await waitUntil(() => keeper.log().includes('flushed at every write'), { what: 'the log said so' })
  })

  it('is reached through Upstash as well', async (context) => {
    const { yoto, redis, stored, start } = await setScene(context, 'expired')
    const upstash = await startUpstashAdapter(redis.url)
    context.onTestFinished(() => upstash.stop())
    const keeper = await start({ REDIS_URL: '', KV_REST_API_URL: upstash.url, KV_REST_API_TOKEN: upstash.token })
    await expectWorkingToken(keeper, yoto)
    expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
    expect((await askStatus(keeper)).storage.warning).toBeUndefined()
    expect(keeper.log()).toContain(`kept in Upstash at ${new URL(upstash.url).host}`)
    expect(keeper.log()).not.toContain(upstash.token)
  })
})
