import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { readConfig } from '../../server/config'
import { createKeeper, type Keeper } from '../../server/keeper/keeper'
import { fingerprintOf } from '../../server/keeper/token-set'
import { createService } from '../../server/service'
import { yotoOf } from '../../server/yoto/yoto'
import { type Backend, type Lease, StorageError, type TokenStore } from '../../storage'
import { memoryStore } from '../support/memory-store'
import { type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// How often the store is looked at, and that nothing else waits for it.

vi.mock('../../server/platform', async (original) => ({ ...(await original<object>()), isProcess: true }))

const MINUTE = 60_000
const lease: Lease = {
  acquire: async () => ({ check: async () => {}, release: async () => {} }),
  tryAcquire: async () => ({ check: async () => {}, release: async () => {} }),
}

let store: TokenStore
let yoto: StandIn
beforeEach(async () => {
  store = memoryStore()
  yoto = await startStandIn({ interval: 1 })
  await put(yoto.seed())
})
afterEach(() => yoto.stop())

/** With a record beside it, good for a day. */
async function put({ refresh_token, access_token }: { refresh_token: string; access_token: string }): Promise<void> {
  await store.write('.yoto_refresh_token', refresh_token)
  const issuedAt = Date.now()
  const record = {
    version: 1,
    fingerprint: fingerprintOf(refresh_token),
    client_id: yoto.clientId,
    access_token,
    issued_at: new Date(issuedAt).toISOString(),
    expires_at: new Date(issuedAt + 24 * 60 * MINUTE).toISOString(),
  }
  await store.write('.yoto_token_set.json', JSON.stringify(record))
}

const config = () =>
  readConfig({ YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url }, '/nowhere')

let passed = 0
async function startKeeper(isUnattended = true): Promise<Keeper> {
  const keeper = createKeeper({
    config: config(),
    store,
    lease,
    journal: {
      add() {},
      count() {},
      read: async () => [],
      tick: async () => {},
      nextDue: () => undefined,
      flush: async () => {},
    },
    clock: { wall: Date.now, monotonic: () => passed },
    yoto: yotoOf(config(), Date.now),
    watchInterval: MINUTE,
    isUnattended,
    removeLeftovers: async () => {},
  })
  await keeper.start()
  return keeper
}

/** Every 250 ms, as the service does. */
async function tickFor(keeper: Keeper, duration: number): Promise<void> {
  for (const end = passed + duration; passed < end; ) {
    passed += 250
    await keeper.tick()
  }
}

it('the store is looked at once a watch interval, however often the clock is', async () => {
  const keeper = await startKeeper()
  const read = vi.spyOn(store, 'read')
  await tickFor(keeper, MINUTE - 1_000)
  expect(read).not.toHaveBeenCalled()
  await tickFor(keeper, 1_000)
  expect(read).toHaveBeenCalledTimes(2)
  await tickFor(keeper, 9 * MINUTE)
  expect(read).toHaveBeenCalledTimes(20)
})

it('a sign-out elsewhere is noticed at the next look, and a replaced token soon after it', async () => {
  const keeper = await startKeeper()
  const another = yoto.seed()
  await put(another)
  await tickFor(keeper, MINUTE)
  expect(keeper.snapshot().set?.accessToken).toBe(another.access_token)
  await store.remove('.yoto_token_set.json')
  await store.write('.yoto_refresh_token', yoto.seed().refresh_token)
  await tickFor(keeper, MINUTE + 1_250)
  expect(keeper.snapshot().set?.accessToken).not.toBe(another.access_token)
  await store.remove('.yoto_refresh_token')
  await tickFor(keeper, MINUTE)
  expect(keeper.snapshot().kept).toBe(false)
})

it('a look that has left something open is followed by one that settles it, and then by none for a while', async () => {
  const keeper = await startKeeper()
  const before = (await store.read('.yoto_refresh_token')) ?? ''
  await store.write('.yoto_refresh_token', 'without a record')
  await tickFor(keeper, MINUTE)
  await store.write('.yoto_refresh_token', before)
  await tickFor(keeper, 1_000)
  const read = vi.spyOn(store, 'read')
  await tickFor(keeper, MINUTE - 1_000)
  expect(read).not.toHaveBeenCalled()
})

it('a sign-in elsewhere is seen before anybody is told that there is none, with one look for all who ask', async () => {
  for (const key of await store.keys()) await store.remove(key)
  const keeper = await startKeeper()
  const read = vi.spyOn(store, 'read')
  const refused = await Promise.allSettled(Array.from({ length: 100 }, () => keeper.accessToken()))
  for (const one of refused) expect(one).toMatchObject({ reason: { code: 'signed_out' } })
  expect(read.mock.calls.length).toBeLessThan(5)
  const another = yoto.seed()
  await put(another)
  expect((await keeper.accessToken()).accessToken).toBe(another.access_token)
  read.mockClear()
  await keeper.accessToken()
  expect(read).not.toHaveBeenCalled()
})

it('a sign-in elsewhere is seen by whoever asks after it, though a look has begun before it', async () => {
  for (const begin of [(keeper: Keeper) => keeper.tick(), (keeper: Keeper) => keeper.seek()]) {
    for (const key of await store.keys()) await store.remove(key)
    const keeper = await startKeeper()
    passed += MINUTE
    const first = holdFirstRead()
    const begun = begin(keeper)
    await first.reached
    const another = yoto.seed()
    await put(another)
    const asked = keeper.accessToken()
    first.release()
    await begun
    expect((await asked).accessToken).toBe(another.access_token)
  }
})

/** Has read the store, and is slow to say what it found. */
function holdFirstRead() {
  let reach = () => {}
  let release = () => {}
  const reached = new Promise<void>((resolve) => (reach = resolve))
  const released = new Promise<void>((resolve) => (release = resolve))
  const { read } = store
  vi.spyOn(store, 'read').mockImplementationOnce(async (...given) => {
    const found = await read(...given)
    reach()
    await released
    return found
  })
  return { reached, release }
}

it('a store that was away is found again within a second', async () => {
  const keeper = await startKeeper()
  const read = vi.spyOn(store, 'read').mockRejectedValue(new StorageError('unavailable', 'it is away'))
  await tickFor(keeper, MINUTE)
  expect(keeper.snapshot().storage).toMatchObject({ code: 'storage_unavailable' })
  read.mockRestore()
  await tickFor(keeper, 1_000)
  expect(keeper.snapshot().storage).toBeUndefined()
})

it("a sign-in is polled at Yoto's pace, however rarely the store is looked at", async () => {
  const backend: Backend = {
    store,
    lease: () => lease,
    place: 'memory',
    watchInterval: 100 * MINUTE,
    removeLeftovers: async () => {},
    checks: [],
  }
  const service = await createService(config(), backend)
  const { login } = await service.deviceLogins.begin()
  await waitUntil(() => yoto.counts.polls >= 3, { what: 'three polls had come', timeout: 8_000 })
  yoto.approve(login.user_code)
  await waitUntil(async () => (await service.deviceLogins.newest()) === undefined, { what: 'the sign-in had ended' })
  const gaps = yoto.pollTimes.slice(1).map((time, at) => time - (yoto.pollTimes[at] ?? 0))
  for (const gap of gaps) expect(gap).toBeLessThan(1_900)
  await service.close()
})

it('a call waits for the refresh ahead that it begins, where nothing runs after its answer, and nowhere else', async () => {
  for (const isUnattended of [true, false]) {
    const keeper = await startKeeper(isUnattended)
    const before = (await keeper.accessToken()).accessToken
    passed += 13 * 60 * MINUTE
    expect((await keeper.accessToken()).accessToken === before).toBe(isUnattended)
    await keeper.close()
  }
})
