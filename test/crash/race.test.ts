import { afterAll, describe, expect, it, type TestContext } from 'vitest'
import type { Keeper } from '../support/keeper-process'
import { type StandIn, type StandInOptions, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'
import { openCallers } from './call-all'
import { age, ages, contentsOf, startService, storeLogin, temporaryFolder, tokenLease } from './folder'

/** Many processes on one folder, and many callers: one refresh, whatever happens. */

const ROUNDS = Number(process.env.ROUNDS ?? 3)
const PROCESSES = 8
const CALLERS = 500

const figures: string[] = []
afterAll(() => console.log(figures.join('\n')))

async function openFolder({ onTestFinished }: TestContext, options: StandInOptions) {
  const yoto = await startStandIn(options)
  const { dir, remove } = temporaryFolder()
  onTestFinished(remove)
  onTestFinished(yoto.stop)
  await storeLogin(dir, yoto.clientId, yoto.seed())
  return { yoto, dir }
}

async function startOn({ onTestFinished }: TestContext, dir: string, yoto: StandIn, count: number): Promise<Keeper[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const keeper = await startService(dir, yoto)
      onTestFinished(async () => void (await keeper.kill()))
      return keeper
    }),
  )
}

const isAuthenticated = async (keeper: Keeper) =>
  (await keeper.json<{ authenticated: boolean }>('/api/auth/status')).body.authenticated

describe(`${PROCESSES} processes on one folder, ${CALLERS} callers each, no leeway`, () => {
  it(`refreshes once when the token has run out, ${ROUNDS} times over`, {
    timeout: 60_000 + ROUNDS * 30_000,
  }, async (context) => {
    const { yoto, dir } = await openFolder(context, { leewayMs: 0 })
    const keepers = await startOn(context, dir, yoto, PROCESSES)
    const callers = await openCallers(context, keepers, CALLERS)
    const lifetime = 12_000
    const took: number[] = []

    const round = async ({ untilRefreshed = false } = {}) => {
      const before = yoto.counts.refresh_ok
      const { answers } = await callers.fire('/api/token')
      const began = performance.now()
      await held?.release()
      // The refresh ahead of a token that is to run out soon must not come in between.
      if (untilRefreshed) await waitUntil(() => yoto.counts.refresh_ok > before, { what: 'somebody had refreshed' })
      else await answers
      held = await tokenLease(dir).acquire()
      const got = await answers
      took.push(performance.now() - began)
      const { record, token } = await contentsOf(dir)
      expect(got).toEqual({ [`200 ${record.access_token}`]: PROCESSES * CALLERS })
      expect(yoto.counts).toMatchObject({ refresh_ok: before + 1, refresh_refused: 0 })
      expect(token).toBe(yoto.currentRefreshToken())
    }

    // The lease is kept here while the token runs out and the callers come: whoever gets it then, gets it in the midst of them.
    let held = await tokenLease(dir).acquire()
    for (let number = 1; number <= ROUNDS; number++) {
      await age(dir, ages.expired)
      await waitUntil(async () => !(await Promise.all(keepers.map(isAuthenticated))).includes(true), {
        what: 'every process had noticed that the token has run out',
      })
      const isLast = number === ROUNDS
      if (isLast) yoto.inject({ kind: 'replace-json', map: (body) => ({ ...body, expires_in: lifetime / 1000 }) })
      await round({ untilRefreshed: isLast })
    }

    // Once more with nothing rewritten: the last token lives for seconds only.
    await waitUntil(async () => Date.parse((await contentsOf(dir)).record.expires_at ?? '') < Date.now(), {
      what: 'the token had run out',
    })
    await round()
    await held?.release()

    const median = took.sort((a, b) => a - b)[Math.floor(took.length / 2)] ?? 0
    figures.push(
      `race: ${took.length} rounds of ${PROCESSES} processes with ${CALLERS} callers each, the token run out: ` +
        `${yoto.counts.refresh_ok} refreshes, ${took.length * PROCESSES * CALLERS} answers, one token a round, ` +
        `${median.toFixed(0)} ms from the free lease to the last answer (median)`,
    )
  })

  it('refreshes once when all of them ask for it', async (context) => {
    const { yoto, dir } = await openFolder(context, { leewayMs: 0 })
    const keepers = await startOn(context, dir, yoto, PROCESSES)
    const callers = await openCallers(context, keepers, CALLERS)
    const { answers } = await callers.fire('/api/auth/refresh', 'POST')
    expect(await answers).toEqual({ 200: PROCESSES * CALLERS })
    expect(yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0 })
    figures.push(`race: ${PROCESSES * CALLERS} times POST /api/auth/refresh at once: ${yoto.counts.refresh_ok} refresh`)
  })
})

describe('4 processes on one folder, a leeway, and the holder ends in the middle of a refresh', () => {
  const CALLERS_EACH = 100

  /** The first process has the lease, the server has rotated, and its answer waits. */
  async function openScene(context: TestContext) {
    const { yoto, dir } = await openFolder(context, { leewayMs: 60_000 })
    const [holder, ...others] = (await startOn(context, dir, yoto, 4)) as [Keeper, ...Keeper[]]
    const callers = await openCallers(context, others, CALLERS_EACH)
    const hold = yoto.hold()
    const asked = holder.fetch('/api/auth/refresh', { method: 'POST' }).catch(() => undefined)
    await hold.reached
    return { yoto, dir, holder, others, callers, hold, asked }
  }
  type Scene = Awaited<ReturnType<typeof openScene>>

  /** Callers who want a fresher token than the one that is there cause the retry; all get what it brings. */
  async function expectOneRetry({ yoto, dir, others, callers }: Scene, refreshes = 2): Promise<string> {
    const { answers } = await callers.fire('/api/token?min_ttl=86400')
    const got = await answers
    const { record, token, settled } = await contentsOf(dir)
    expect(got).toEqual({ [`200 ${record.access_token}`]: others.length * CALLERS_EACH })
    expect(yoto.counts).toMatchObject({ refresh_ok: refreshes, refresh_refused: 0, revoked: 0 })
    expect(settled).toBe(true)
    expect(token).toBe(yoto.currentRefreshToken())
    return token
  }

  async function expectNobodySignedOut({ yoto, dir }: Scene, keepers: Keeper[], token: string) {
    for (const keeper of keepers) {
      const { body } = await keeper.json('/api/auth/status')
      expect(body).toMatchObject({ state: 'signed_in', authenticated: true })
      expect(body).not.toHaveProperty('problem')
    }
    expect((await contentsOf(dir)).token, 'nothing was overwritten').toBe(token)
    expect(yoto.counts).toMatchObject({ refresh_refused: 0, revoked: 0 })
    const form = { grant_type: 'refresh_token', client_id: yoto.clientId, refresh_token: token }
    const { status } = await fetch(`${yoto.url}/oauth/token`, { method: 'POST', body: new URLSearchParams(form) })
    expect(status, 'the stored token still works').toBe(200)
  }

  it.concurrent('by kill -9', { timeout: 120_000 }, async (context) => {
    const scene = await openScene(context)
    await scene.holder.kill()
    scene.hold.release()
    const token = await expectOneRetry(scene)
    await expectNobodySignedOut(scene, scene.others, token)
    figures.push(`race: holder killed in the middle of a refresh: 1 retry, 0 signed out`)
  })

  it.concurrent.for([
    ['before the answer', 0],
    ['while the answer comes', 2],
    ['while the answer is saved', 6],
  ] as const)('by SIGSTOP for 10 s %s', { timeout: 120_000 }, async ([when, delay], context) => {
    const scene = await openScene(context)
    const { holder, others, dir, hold, yoto } = scene
    if (delay > 0) hold.release()
    await new Promise((resolve) => setTimeout(resolve, delay))
    process.kill(holder.pid, 'SIGSTOP')
    const stopped = performance.now()
    // In time to save everything, and only the lease was not given back: then there is nothing to be retried.
    const wasSaved = (await contentsOf(dir)).settled
    hold.release()
    const token = await expectOneRetry(scene, wasSaved ? 1 : 2)
    await waitUntil(() => performance.now() - stopped >= 10_000, { what: '10 s had passed' })
    process.kill(holder.pid, 'SIGCONT')
    await scene.asked

    const { record } = await contentsOf(dir)
    const served = async () => (await holder.json<{ access_token: string }>('/api/token')).body.access_token
    await waitUntil(async () => (await served()) === record.access_token, {
      what: 'the woken process serves what is stored',
    })
    await expectNobodySignedOut(scene, [holder, ...others], token)
    const own = /dropped/.test(holder.log()) ? 'dropped' : wasSaved ? 'saved before' : 'never read'
    figures.push(
      `race: holder stopped for 10 s ${when}: ${yoto.counts.refresh_ok - 2} retry, 0 signed out, ` +
        `what the woken one had got was ${own}, ${yoto.counts.revoked} revoked`,
    )
  })
})
