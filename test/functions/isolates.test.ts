import { setTimeout as sleep } from 'node:timers/promises'
import { beforeAll, expect, it } from 'vitest'
import type { Event } from '../../server/keeper/journal'
import { FOR_REFRESH, RECORD, TOKEN, whoami } from '../faults/scene'
import { waitUntil } from '../support/wait-until'
import { type Deployed, entryOf, setScene } from './scene'

// 8 isolates of the output for AWS Lambda on one Redis.

const ISOLATES = 8
const ROUNDS = Number(process.env.ROUNDS ?? 3)
const CALLS = 300
const OUTAGE = 10_000

const print = (line: string) => process.stdout.write(`${line}\n`)
const askToken = (keeper: Deployed) => keeper.json('/api/token')

beforeAll(() => entryOf('aws-lambda'))

it(`${CALLS} calls at the end of a token bring one refresh, in each of ${ROUNDS} rounds`, {
  timeout: 60_000 + ROUNDS * 60_000,
}, async (context) => {
  const scene = await setScene(context, 'aws-lambda', 'expired', { expiresIn: 16 })
  const { yoto, redis, stored } = scene
  scene.store = { REDIS_URL: redis.url }
  const keeper = await scene.start({}, { isolates: ISOLATES, most: ISOLATES })
  for (let round = 1; round <= ROUNDS; round++) {
    const began = performance.now()
    const answers = await Promise.all(Array.from({ length: CALLS }, () => askToken(keeper)))
    const took = Math.round(performance.now() - began)
    expect(answers.filter(({ status }) => status !== 200)).toEqual([])
    const tokens = new Set(answers.map(({ body }) => body.access_token))
    print(
      `round ${round}: ${CALLS} calls in ${took} ms, ${tokens.size} token, refreshes so far ${yoto.counts.refresh_ok}`,
    )
    expect(tokens.size).toBe(1)
    expect(yoto.counts).toMatchObject({ refresh_ok: round, refresh_refused: 0, refresh_reused: 0 })
    expect(await whoami(yoto, [...tokens][0])).toBe(200)
    expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
    // Each isolate has noted its start before its first answer, though all did at once.
    const events: Event[] = JSON.parse((await stored('.yoto_journal.json')) ?? '[]')
    const starts = events.filter(({ kind }) => kind === 'start').map(({ count = 1 }) => count)
    expect(starts.reduce((sum, count) => sum + count)).toBe(ISOLATES)
    const end = Date.parse(JSON.parse((await stored(RECORD)) ?? '').expires_at)
    await sleep(end - Date.now() + 10)
  }
})

it.for([
  ['dies and comes back with its data', true],
  ['dies and comes back empty', false],
  ['does not answer', undefined],
] as const)(
  'Redis %s: for 10 seconds valid tokens go on being served, and nothing is lost',
  {
    timeout: 120_000,
  },
  async ([what, durable], context) => {
    const scene = await setScene(context, 'aws-lambda', 'valid', {}, { durable: durable === true })
    const { yoto, redis, first, stored } = scene
    scene.store = { REDIS_URL: redis.url }
    const keeper = await scene.start({}, { isolates: ISOLATES, most: ISOLATES })
    const warm = await Promise.all(Array.from({ length: 100 }, () => askToken(keeper)))
    expect(new Set(warm.map(({ status }) => status))).toEqual(new Set([200]))

    let [calls, slowest, over] = [0, 0, false]
    const wrong: unknown[] = []
    const caller = async () => {
      while (!over) {
        const began = performance.now()
        const { status, body } = await askToken(keeper)
        slowest = Math.max(slowest, performance.now() - began)
        calls++
        if (status !== 200 || body.access_token !== first.access_token) wrong.push(body)
        await sleep(20)
      }
    }
    const callers = Array.from({ length: 4 }, caller)
    if (durable === undefined) redis.signal('SIGSTOP')
    else await redis.kill()
    const back = sleep(OUTAGE)
    const since = performance.now()
    const ready = () => keeper.json('/api/ready')
    const told = await waitUntil(async () => (({ status, body }) => status === 503 && body)(await ready()), {
      what: 'it said that it is not ready',
    })
    expect(told).toEqual({ ready: false, reason: 'storage_unavailable' })
    const toldAfter = ((performance.now() - since) / 1000).toFixed(1)
    await back
    const during = calls
    if (durable === undefined) redis.signal('SIGCONT')
    else await redis.start()
    over = true
    await Promise.all(callers)
    print(
      `Redis ${what}: ${during} calls served meanwhile, ${wrong.length} wrong, the slowest took ${Math.round(slowest)} ms; ` +
        `not ready after ${toldAfter} s`,
    )
    expect(wrong).toEqual([])

    const isStored = async () => (await ready()) && (await stored(TOKEN))?.trim() === first.refresh_token
    await waitUntil(isStored, { what: 'the sign-in was stored' })
    // Every isolate finds it back: as many asks in a row as there are.
    const isWell = async () => {
      const all = []
      for (let i = 0; i < ISOLATES; i++) all.push((await ready()).status)
      return all.every((status) => status === 200)
    }
    await waitUntil(isWell, { what: 'all were ready again', timeout: 30_000 })
    expect(yoto.counts.refresh_ok).toBe(0)
    expect((await keeper.post('/api/auth/refresh')).status).toBe(200)
    expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0, refresh_reused: 0 })
    expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
    if (durable === false) expect(keeper.log()).toContain('saved_again')
  },
)

it('Redis dies between a refresh and its save: the isolate that holds the new token saves it, and no other repeats the refresh', {
  timeout: 120_000,
}, async (context) => {
  const scene = await setScene(context, 'aws-lambda', 'valid', {}, { durable: true })
  const { yoto, redis, first, stored } = scene
  scene.store = { REDIS_URL: redis.url }
  const keeper = await scene.start({}, { isolates: ISOLATES, most: ISOLATES })
  await Promise.all(Array.from({ length: 50 }, () => askToken(keeper)))
  const held = yoto.hold(FOR_REFRESH)
  const answer = keeper.post('/api/auth/refresh')
  await held.reached
  await redis.kill()
  held.release()
  expect(await answer).toMatchObject({ status: 503, body: { error: 'storage_unavailable' } })
  const end = Date.now() + OUTAGE
  while (Date.now() < end) {
    expect((await askToken(keeper)).status).toBe(200)
    await sleep(50)
  }
  await redis.start()
  const haveNew = async () => {
    const answers = []
    for (let i = 0; i < ISOLATES; i++) answers.push(await askToken(keeper))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    return answers.every(({ body }) => body.access_token !== first.access_token)
  }
  await waitUntil(haveNew, { what: 'all had the new token', timeout: 30_000 })
  expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
  expect((await keeper.post('/api/auth/refresh')).status).toBe(200)
  expect(yoto.counts).toMatchObject({ refresh_ok: 2, refresh_refused: 0, refresh_reused: 0 })
})
