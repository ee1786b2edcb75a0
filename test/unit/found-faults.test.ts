import { beforeEach, expect, it } from 'vitest'
import { readConfig } from '../../server/config'
import { createKeeper, type Keeper } from '../../server/keeper/keeper'
import { fingerprintOf } from '../../server/keeper/token-set'
import type { Outcome } from '../../server/yoto/outcome'
import { StorageError, type TokenStore } from '../../storage'
import { memoryStore } from '../support/memory-store'

// One test for each fault that was once found in the keeper, by its number; the others are stories (test/simulation/stories).

const TOKEN = '.yoto_refresh_token'
const RECORD = '.yoto_token_set.json'
const HOUR = 3_600_000
const config = readConfig({ YOTO_CLIENT_ID: 'client' }, '/nowhere')

let now: number
let inner: TokenStore
let store: TokenStore
/** What happens before a write takes place; it may throw, or wait. */
let beforeWrite: (key: string, value: string) => void | Promise<void>
let afterRead: (key: string) => Promise<void>
let sent: string[]
let revoked: string[]
/** What Yoto answers, in turn; then what it was told last, again. */
let answers: (Outcome | ((token: string) => Promise<Outcome>))[]

beforeEach(() => {
  now = 1_000_000
  inner = memoryStore()
  beforeWrite = () => {}
  afterRead = async () => {}
  store = {
    ...inner,
    async read(key) {
      const value = await inner.read(key)
      await afterRead(key)
      return value
    },
    async write(key, value, onlyIf) {
      await beforeWrite(key, value)
      await inner.write(key, value, onlyIf)
    },
  }
  sent = []
  revoked = []
  answers = []
})

const held = { check: async () => {}, release: async () => {} }

async function start(): Promise<Keeper> {
  const keeper = createKeeper({
    config,
    store,
    lease: { acquire: async () => held, tryAcquire: async () => held },
    journal: {
      add() {},
      count() {},
      read: async () => [],
      tick: async () => {},
      nextDue: () => undefined,
      flush: async () => {},
    },
    clock: { wall: () => Date.UTC(2026, 0, 1) + now, monotonic: () => now },
    yoto: {
      async refresh(token) {
        sent.push(token)
        const answer = answers.length > 1 ? answers.shift() : answers[0]
        if (!answer) throw new Error('nothing is to be sent')
        return typeof answer === 'function' ? answer(token) : answer
      },
      async revoke(token) {
        revoked.push(token)
        return true
      },
    },
    watchInterval: 500,
    removeLeftovers: async () => {},
  })
  await keeper.start()
  return keeper
}

async function pass(keeper: Keeper, duration: number, step = 250): Promise<void> {
  for (const end = now + duration; now < end; ) {
    now = Math.min(end, now + step)
    await keeper.tick()
  }
}

const about = (token: string) => ({
  fingerprint: fingerprintOf(token),
  client_id: 'client',
  server: config.authUrl,
  at: new Date(now).toISOString(),
})

/** A token with its record, good for a day, as another instance would leave them. */
async function put(token: string, more: object = {}): Promise<void> {
  const issuedAt = Date.UTC(2026, 0, 1) + now
  const record = {
    version: 1,
    fingerprint: fingerprintOf(token),
    client_id: 'client',
    access_token: `access-${token}`,
    issued_at: new Date(issuedAt).toISOString(),
    expires_at: new Date(issuedAt + 24 * HOUR).toISOString(),
    ...more,
  }
  await inner.write(RECORD, JSON.stringify(record))
  await inner.write(TOKEN, token)
}

const recordNow = async () => JSON.parse((await inner.read(RECORD)) ?? 'null')
const issued = (refreshToken: string, accessToken = `access-${refreshToken}`): Outcome => ({
  meaning: 'tokens',
  tokens: { accessToken, refreshToken, expiresIn: 24 * HOUR },
})
const refused: Outcome = { meaning: 'refused', error: 'invalid_grant', message: 'Yoto answered 403 invalid_grant.' }
const notSent: Outcome = { meaning: 'not_sent', message: 'Yoto cannot be reached (ECONNREFUSED).' }
const failRecord = (key: string) => {
  if (key === RECORD) throw new StorageError('unavailable', 'the disk is full')
}

it('S3: a refusal is durable before it is told', async () => {
  await put('one')
  answers = [refused]
  const keeper = await start()
  let write = () => {}
  const written = new Promise<void>((resolve) => {
    write = resolve
  })
  const reached = new Promise<void>((resolve) => {
    beforeWrite = async (_, value) => {
      if (!value.includes('"refusals"')) return
      resolve()
      await written
    }
  })
  const refresh = keeper.refreshNow().catch((error) => error.code)
  now += 20_000
  await reached
  expect(keeper.snapshot().refusal).toBeUndefined()
  write()
  expect(await refresh).toBe('needs_sign_in')
  expect((await recordNow()).refusals).toHaveLength(1)
})

it('S6: white space that came around the token during a refresh does not make it another', async () => {
  await put('one')
  answers = [
    async (token) => {
      await inner.write(TOKEN, `${token}\n`)
      return issued('two')
    },
  ]
  const keeper = await start()
  now += 20_000
  await keeper.refreshNow()
  expect(await inner.read(TOKEN)).toBe('two')
  expect(sent).toEqual(['one'])
})

it('S7: a sign-in does not revoke what may be of the same account: some tenants would end the new one as well', async () => {
  await put('one', { fingerprint: fingerprintOf('another'), access_token: undefined }) // its record says nothing of it
  answers = [notSent]
  const keeper = await start()
  const accessToken = `header.${btoa(JSON.stringify({ sub: 'ann' }))}.signature`
  await keeper.signIn(
    { accessToken, refreshToken: 'two', expiresIn: HOUR },
    { wall: Date.UTC(2026, 0, 1) + now, monotonic: now },
  )
  expect(await inner.read(TOKEN)).toBe('two')
  expect(revoked).toEqual([])
})

it('P1: an outage that another instance has ended does not make the next pause longer', async () => {
  await put('one')
  answers = [notSent]
  const keeper = await start()
  await pass(keeper, 13 * HOUR, 30_000)
  expect(sent.length).toBeGreaterThan(6)
  await put('two')
  await pass(keeper, 1_000)
  expect(keeper.snapshot()).toMatchObject({ trouble: undefined, set: { accessToken: 'access-two' } })

  const before = sent.length
  while (sent.length === before) await pass(keeper, 60_000, 10_000)
  const after = now
  while (sent.length === before + 1) await pass(keeper, 250)
  expect(now - after).toBeLessThan(60_000 + 2_500)
  expect(sent.length).toBe(before + 2)
})

it('P2: a sign-out that was cut is ended only if its token is still there', async () => {
  await inner.write(TOKEN, 'one')
  await inner.write(RECORD, JSON.stringify({ version: 1, signed_out: { ...about('one') } }))
  let isOver = false
  afterRead = async (key) => {
    if (key !== RECORD || isOver) return
    isOver = true
    await put('two') // a sign-in elsewhere, at the worst moment
  }
  const keeper = await start()
  await pass(keeper, 5_000)
  expect(await inner.read(TOKEN)).toBe('two')
  expect((await keeper.accessToken()).accessToken).toBe('access-two')
})

it('P2: and it is ended, under the lease', async () => {
  await inner.write(TOKEN, 'one')
  await inner.write(RECORD, JSON.stringify({ version: 1, signed_out: { ...about('one') } }))
  const keeper = await start()
  expect(keeper.snapshot().kept).toBe(false)
  await pass(keeper, 5_000)
  expect(await inner.read(TOKEN)).toBeNull()
})

it('P3: what is owed to the store about one token does not hide the refusal of another', async () => {
  await put('one')
  const keeper = await start()
  beforeWrite = failRecord
  await keeper.signOut() // which cannot be noted
  await put('two', { access_token: undefined, refusals: [{ ...about('two'), message: refused.message }] })
  beforeWrite = () => {}
  answers = [refused]
  await pass(keeper, 5_000)
  expect(sent).toEqual([])
  expect(keeper.snapshot().refusal).toBe(refused.message)
})

it('P4: a refusal that could not be noted does not replace the record of a sign-in that came since', async () => {
  await put('one')
  answers = [refused]
  const keeper = await start()
  now += 20_000
  beforeWrite = (key, value) => {
    if (value.includes('"refusals"')) failRecord(key)
  }
  await keeper.refreshNow().catch(() => {})
  expect(keeper.snapshot().refusal).toBe(refused.message)
  beforeWrite = () => {}
  await put('two') // before the next tick
  await pass(keeper, 5_000)
  expect(await recordNow()).toMatchObject({ fingerprint: fingerprintOf('two'), access_token: 'access-two' })
  expect((await keeper.accessToken()).accessToken).toBe('access-two')
})

it('P5: an alarm is set for the intent that is found after an outage', async () => {
  await put('one')
  answers = [issued('two')]
  const keeper = await start()
  afterRead = async () => {
    throw new StorageError('unavailable', 'the store is away')
  }
  await pass(keeper, 2_000)
  afterRead = async () => {}
  await put('one', { intent: about('one') })
  await pass(keeper, 1_500)
  const due = (keeper.nextDue() ?? Number.POSITIVE_INFINITY) - (Date.UTC(2026, 0, 1) + now)
  expect(due).toBeLessThan(11_000)
  expect(sent).toEqual([])
  now += due
  await keeper.tick()
  expect(sent).toEqual(['one'])
})

it('hands out no refresh token', async () => {
  await put('one')
  const keeper = await start()
  expect(Object.keys(await keeper.accessToken()).sort()).toEqual(['accessToken', 'expiresAt', 'scope', 'timeLeft'])
  expect(JSON.stringify(keeper.snapshot())).not.toMatch(/"one"/)
})
