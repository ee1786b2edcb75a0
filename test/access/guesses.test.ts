import { describe, expect, it, type TestContext } from 'vitest'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

// Wrong keys at the built service, shown as a bearer token and to the page.

async function start(context: TestContext, env: Record<string, string> = {}): Promise<Keeper> {
  const keeper = await startKeeper({ env: { KEEPER_TOOL_KEYS: 'tool:tool-key-0123456789', ...env } })
  context.onTestFinished(() => void keeper.kill())
  return keeper
}

const show = (keeper: Keeper, key: string, headers: Record<string, string> = {}) =>
  keeper.json<{ error: string }>('/api/journal', { headers: { ...headers, authorization: `Bearer ${key}` } })
const enter = (keeper: Keeper, key: string) =>
  fetch(`${keeper.url}/api/access/unlock`, { method: 'POST', body: JSON.stringify({ key }) })

/** Statuses of so many wrong keys, one after the other. */
async function guess(keeper: Keeper, times: number, headers: (time: number) => Record<string, string> = () => ({})) {
  const statuses: number[] = []
  for (let time = 0; time < times; time++)
    statuses.push((await show(keeper, `wrong-key-${time}`, headers(time))).status)
  return statuses
}

const TEN = Array(10).fill(401)

describe('wrong keys', () => {
  it('are refused aloud after ten, in whatever way they are shown; the right ones are not', async (context) => {
    const keeper = await start(context)
    expect(await guess(keeper, 5)).toEqual(TEN.slice(5))
    for (let time = 0; time < 5; time++) expect((await enter(keeper, 'wrong-key')).status).toBe(401)
    const { status, body, headers } = await show(keeper, 'wrong-key')
    expect({ status, error: body.error }).toEqual({ status: 429, error: 'too_many_requests' })
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect(Number(headers.get('retry-after'))).toBeLessThanOrEqual(60)
    expect((await enter(keeper, 'wrong-key')).status).toBe(429)

    expect((await show(keeper, keeper.key)).status).toBe(200)
    expect((await show(keeper, 'tool-key-0123456789')).status).toBe(403)
    expect((await enter(keeper, 'tool-key-0123456789')).status).toBe(403)
    expect((await enter(keeper, keeper.key)).status).toBe(200)
    await waitUntil(() => keeper.log().includes('Too many wrong keys'), { what: 'the log said so' })
    expect(keeper.log().match(/Too many wrong keys/g)).toHaveLength(1)
    expect(keeper.log()).not.toContain('wrong-key')
  })

  it('are counted together, whatever address the caller claims', async (context) => {
    const keeper = await start(context)
    const claimed = (time: number) => {
      const address = `192.0.2.${time}`
      return {
        'x-forwarded-for': address,
        'x-real-ip': address,
        forwarded: `for=${address}`,
        'cf-connecting-ip': address,
      }
    }
    expect(await guess(keeper, 12, claimed)).toEqual([...TEN, 429, 429])
  })

  it("are counted by the address that Railway's edge has seen, on Railway", async (context) => {
    const keeper = await start(context, { RAILWAY_ENVIRONMENT_NAME: 'production', DATA_DIR: '.' })
    const seen = (address: string) => (time: number) => ({ 'x-real-ip': address, 'x-forwarded-for': `192.0.2.${time}` })
    expect(await guess(keeper, 11, seen('198.51.100.1'))).toEqual([...TEN, 429])
    expect(await guess(keeper, 11, seen('198.51.100.2'))).toEqual([...TEN, 429])
  })
})
