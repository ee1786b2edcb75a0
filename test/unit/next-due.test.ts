import { afterEach, beforeEach, expect, it } from 'vitest'
import { readConfig } from '../../server/config'
import { createService, type Service } from '../../server/service'
import { inMemoryLeases } from '../../storage/leases/in-memory'
import { type ApiServer, startApiServer } from '../support/api-server'
import { memoryStore } from '../support/memory-store'
import { type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// When an alarm is needed, where nothing runs between requests.

const TOKEN = '.yoto_refresh_token'
const MINUTE = 60_000

let yoto: StandIn
let owner: ApiServer
beforeEach(async () => {
  yoto = await startStandIn()
  owner = await startApiServer()
})
afterEach(() => Promise.all([yoto.stop(), owner.stop()]))

/** Started, and with nothing left to do at once. */
async function start({ env = {}, token }: { env?: Record<string, string>; token?: string } = {}): Promise<Service> {
  const store = memoryStore()
  if (token) await store.write(TOKEN, token)
  const config = readConfig({ YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, ...env }, '/')
  const lease = inMemoryLeases()
  const backend = { store, lease, place: 'memory', watchInterval: MINUTE, removeLeftovers: async () => {}, checks: [] }
  const service = await createService(config, backend)
  await service.keeper.accessToken().catch(() => {})
  await service.catchUp()
  return service
}

const dueIn = (service: Service) => (service.nextDue() ?? Number.NaN) - Date.now()

it('is not while nobody is signed in', async () => {
  expect((await start()).nextDue()).toBeUndefined()
})

it('is when it is time to refresh ahead', async () => {
  const service = await start({ token: yoto.seed().refresh_token })
  expect(service.nextDue()).toBeCloseTo(service.keeper.snapshot().refreshAt ?? 0, -2)
  expect(dueIn(service) / 3_600_000).toBeCloseTo(12, 1)
})

it('is at the end of a pause after a failure', async () => {
  yoto.inject({ kind: 'status', status: 429, headers: { 'retry-after': '120' } })
  const told = await start({ token: yoto.seed().refresh_token })
  expect(dueIn(told) / 1000).toBeCloseTo(120, -1)

  await yoto.pause()
  const away = await start({ token: yoto.seed().refresh_token })
  expect(dueIn(away)).toBeGreaterThan(0)
  expect(dueIn(away)).toBeLessThan(2_000)
  await yoto.resume()
  await waitUntil(() => Date.now() >= (away.nextDue() ?? 0), { what: 'the pause was over' })
  await away.catchUp()
  expect(dueIn(away)).toBeGreaterThan(MINUTE)
})

it('is not when Yoto has refused, once the owner has been told', async () => {
  const env = { NOTIFY_URL: owner.url }
  yoto.inject({ kind: 'status', status: 403, body: { error: 'invalid_grant' } })
  owner.answer = (_, response) => response.writeHead(500).end()
  const service = await start({ token: 'unknown', env })
  for (let attempts = 0; attempts < 2; ) {
    await waitUntil(() => Date.now() >= (service.nextDue() ?? Number.POSITIVE_INFINITY), { what: 'it was time' })
    await service.catchUp()
    attempts = owner.arrivals.length
  }
  owner.answer = (_, response) => response.end()
  await waitUntil(() => Date.now() >= (service.nextDue() ?? Number.POSITIVE_INFINITY), { what: 'it was time' })
  await service.catchUp()
  expect(owner.arrivals).toHaveLength(3)
  expect(service.nextDue()).toBeUndefined()
})

it('is at the next poll of a sign-in, and when what is left of it is to be removed', async () => {
  const service = await start()
  const { handle, login } = await service.deviceLogins.begin()
  await service.catchUp()
  expect(service.nextDue()).toBe(Date.parse(login.next_poll_at))

  yoto.deny(login.user_code)
  await waitUntil(() => Date.now() >= (service.nextDue() ?? 0), { what: 'it was time to poll' })
  await service.catchUp()
  expect(await service.deviceLogins.state(handle)).toMatchObject({ status: 'error', error: 'access_denied' })
  expect(dueIn(service) / MINUTE).toBeCloseTo(10, 0)
})
