import { expect, it } from 'vitest'
import { askStatus, TOKEN, valuesOf } from '../faults/scene'
import { startKeeper } from '../support/keeper-process'
import { leaseIn, startRedis } from '../support/redis'
import { startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'
import { openCallers } from './call-all'

// As race.test.ts, with processes that have nothing in common but a Redis.

const ROUNDS = Number(process.env.ROUNDS ?? 3)
const PROCESSES = 8
const CALLERS = 500

it(`${PROCESSES} processes on one Redis, ${CALLERS} callers each: one refresh when the token has run out, ${ROUNDS} times over`, {
  timeout: 60_000 + ROUNDS * 30_000,
}, async ({ onTestFinished }) => {
  const yoto = await startStandIn({ leewayMs: 0 })
  onTestFinished(yoto.stop)
  const redis = await startRedis()
  onTestFinished(async () => void (await redis.stop()))
  const stored = (key: string) => redis.client.get(`production:${key}`)
  /** What is stored has run out; the other bytes around the token have it read again (rule 10). */
  const expire = async (refresh_token: string) => {
    const tokens = { access_token: `aged-${performance.now()}`, refresh_token, expires_in: 0 }
    for (const [key, value] of valuesOf(yoto, tokens, 'expired').reverse()) {
      await redis.client.set(`production:${key}`, key === TOKEN ? `${value} ` : value)
    }
  }

  const { refresh_token } = yoto.seed()
  // The lease is kept here until the callers have come: whoever gets it then, gets it in the midst of them.
  const lease = leaseIn(redis.url, 'production', 'token')
  let held = await lease.acquire()
  await expire(refresh_token)
  const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url, REDIS_URL: redis.url }
  const keepers = await Promise.all(
    Array.from({ length: PROCESSES }, async () => {
      const keeper = await startKeeper({ env })
      onTestFinished(async () => void (await keeper.kill()))
      return keeper
    }),
  )
  const isOut = async () => {
    const all = await Promise.all(keepers.map(askStatus))
    return all.every(({ state, authenticated }) => state === 'signed_in' && !authenticated)
  }
  const callers = await openCallers({ onTestFinished }, keepers, CALLERS)
  const took: number[] = []
  for (let round = 1; round <= ROUNDS; round++) {
    await waitUntil(isOut, { what: 'every process had noticed that the token has run out' })
    const { answers } = await callers.fire('/api/token')
    const began = performance.now()
    await held?.release()
    const got = await answers
    took.push(performance.now() - began)
    held = await lease.acquire()
    const record = JSON.parse((await stored('.yoto_token_set.json')) ?? '')
    expect(got).toEqual({ [`200 ${record.access_token}`]: PROCESSES * CALLERS })
    expect(yoto.counts).toMatchObject({ refresh_ok: round, refresh_refused: 0 })
    expect(await stored(TOKEN)).toBe(yoto.currentRefreshToken())
    await expire(yoto.currentRefreshToken())
  }
  await held?.release()
  console.log(
    `race on Redis: ${ROUNDS} rounds of ${PROCESSES} processes with ${CALLERS} callers each: ${yoto.counts.refresh_ok} refreshes, one token ` +
      `a round, ${Math.round(Math.max(...took))} ms at most from the free lease to the last answer`,
  )
})
