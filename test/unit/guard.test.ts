import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Access, createAccess, SESSION_LIFETIME } from '../../server/access/access'
import { admit, type Caller } from '../../server/access/guard'
import { KEEPER_KEY, SESSION_SECRET, sign } from '../../server/access/secrets'
import { durableFiles } from '../../storage/stores/durable-files'

const KEY = 'the-right-key-0123456789'
const TOOLS = [
  { name: 'one', key: 'key-of-tool-one-0123456789' },
  { name: 'two', key: 'key-of-tool-two-0123456789' },
]
const KEYS = { keeperKey: KEY, toolKeys: TOOLS }
const NONE = { toolKeys: [] }
const PUBLIC = ['https://keeper.example', 'http://Other.example:8080']

const parent = mkdtempSync(join(tmpdir(), 'guard-'))
afterAll(() => rmSync(parent, { recursive: true }))
const freshFolder = () => mkdtempSync(join(parent, 'data-'))

const access = createAccess(durableFiles(freshFolder()), KEYS)

/** `in`, or the error's code. */
async function verdict(caller: Partial<Caller>, { dev = false, publicUrls = PUBLIC } = {}): Promise<string> {
  const complete = { path: '/api/token', host: 'localhost:8080', ...caller }
  return admit(complete, access, { dev, publicUrls }).then(
    () => 'in',
    (error) => error.code ?? error,
  )
}

describe('a program', () => {
  it.each([
    ['nobody', undefined, 'unauthorized'],
    ['the right key', `Bearer ${KEY}`, 'in'],
    ['a small b', `bearer ${KEY}`, 'in'],
    ['capitals and spaces', `BEARER   ${KEY}  `, 'in'],
    ['a wrong key', 'Bearer the-wrong-key-0123456789', 'unauthorized'],
    ['the key in other letters', `Bearer ${KEY.toUpperCase()}`, 'unauthorized'],
    ['half of the key', `Bearer ${KEY.slice(0, -1)}`, 'unauthorized'],
    ['more than the key', `Bearer ${KEY}x`, 'unauthorized'],
    ['the key twice', `Bearer ${KEY} ${KEY}`, 'unauthorized'],
    ['no key', 'Bearer ', 'unauthorized'],
    ['no space', `Bearer${KEY}`, 'unauthorized'],
    ['the key alone', KEY, 'unauthorized'],
    ['another scheme', `Basic ${KEY}`, 'unauthorized'],
    ['a scheme before', `Basic x, Bearer ${KEY}`, 'unauthorized'],
  ])('with %s', async (_, authorization, expected) => {
    expect(await verdict({ authorization })).toBe(expected)
  })

  it('is not asked where it comes from', async () => {
    const elsewhere = { host: 'evil.example', origin: 'https://evil.example', secFetchSite: 'cross-site' }
    expect(await verdict({ ...elsewhere, authorization: `Bearer ${KEY}` })).toBe('in')
    expect(await verdict({ ...elsewhere, authorization: 'Bearer wrong' })).toBe('unauthorized')
  })

  it('is told what to send, and not what it sent', async () => {
    const caller = { path: '/api/token', host: 'localhost', authorization: 'Bearer hush' }
    const error = await admit(caller, access, { dev: false, publicUrls: [] }).catch((error) => error)
    expect(JSON.stringify(error)).toContain('KEEPER_KEY')
    expect(JSON.stringify(error)).not.toContain('hush')
  })
})

describe('a tool', () => {
  const [one] = TOOLS
  const authorization = `Bearer ${one?.key}`

  it.each(['/api/token', '/api/yoto/', '/api/yoto/v1/card'])('reaches %s', async (path) => {
    expect(await verdict({ path, authorization })).toBe('in')
    const caller = { path, host: 'evil.example', authorization }
    expect(await admit(caller, access, { dev: false, publicUrls: [] })).toEqual({ tool: 'one' })
  })

  it.each([
    ...[
      '/api/auth/status',
      '/api/auth/logout',
      '/api/access/lock',
      '/api/access/unlock',
      '/api/journal',
      '/api/doctor',
      '/unknown',
    ],
    ...['/api/yotox', '/api/tokens', '/api/token/x', '/API/TOKEN', '//api/token', '/api/yoto;/x'],
  ])('does not reach %s', async (path) => {
    expect(await verdict({ path, authorization })).toBe('forbidden')
    expect(await verdict({ path, authorization }, { dev: true })).toBe('forbidden')
  })

  it('is gone with its key, and the others are not', async () => {
    const left = createAccess(durableFiles(freshFolder()), { keeperKey: KEY, toolKeys: TOOLS.slice(1) })
    await expect(left.identify(TOOLS[0]?.key ?? '')).rejects.toMatchObject({ code: 'unauthorized' })
    expect(await left.identify(TOOLS[1]?.key ?? '')).toEqual({ tool: 'two' })
  })
})

describe('wrong keys', () => {
  /** What so many wrong keys in a row are answered with. */
  async function guess(access: Access, times: number, address?: string): Promise<Record<string, number>> {
    const verdicts: Record<string, number> = {}
    for (let time = 0; time < times; time++) {
      const error = await access.identify(`wrong ${time}`, address).catch((error) => error)
      verdicts[error.code] = (verdicts[error.code] ?? 0) + 1
    }
    return verdicts
  }

  it('are refused aloud after 10 from one address, and said once', async () => {
    let said = 0
    const access = createAccess(durableFiles(freshFolder()), KEYS, () => said++)
    expect(await guess(access, 15, '192.0.2.1')).toEqual({ unauthorized: 10, too_many_requests: 5 })
    expect(said).toBe(1)
    const error = await access.identify('wrong', '192.0.2.1').catch((error) => error)
    expect(error).toMatchObject({ status: 429, retryAfter: expect.any(Number) })
    expect(error.retryAfter).toBeGreaterThan(0)
    expect(error.retryAfter).toBeLessThanOrEqual(60_000)
    expect(await guess(access, 10, '192.0.2.2')).toEqual({ unauthorized: 10 })
  })

  it.each([
    ['from as many addresses', (time: number) => `192.0.2.${time}`],
    ['from nobody knows where', () => undefined],
  ])('are refused aloud after 100 %s', async (_, addressOf) => {
    const access = createAccess(durableFiles(freshFolder()), KEYS)
    for (let time = 0; time < 100; time++) expect(await guess(access, 1, addressOf(time))).toEqual({ unauthorized: 1 })
    expect(await guess(access, 3, addressOf(200))).toEqual({ too_many_requests: 3 })
  })

  it('never keep the right one out', async () => {
    const access = createAccess(durableFiles(freshFolder()), KEYS)
    await guess(access, 200, '192.0.2.1')
    expect(await access.identify(KEY, '192.0.2.1')).toBe('owner')
    expect(await access.identify(TOOLS[1]?.key ?? '', '192.0.2.1')).toEqual({ tool: 'two' })
    expect(await access.isSession(await access.openSession())).toBe(true)
  })

  it('are forgotten after a minute', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] })
    const access = createAccess(durableFiles(freshFolder()), KEYS)
    expect(await guess(access, 11, '192.0.2.1')).toEqual({ unauthorized: 10, too_many_requests: 1 })
    vi.advanceTimersByTime(60_000)
    expect(await guess(access, 1, '192.0.2.1')).toEqual({ unauthorized: 1 })
    vi.useRealTimers()
  })
})

describe('a path', () => {
  it.each(['/', '/style.css', '/client.js', '/client/ask.js', '/api/health', '/api/ready', '/api/auth/callback'])(
    '%s is open to all',
    async (path) => {
      const elsewhere = { host: 'healthcheck.railway.app', origin: 'https://evil.example', secFetchSite: 'cross-site' }
      expect(await verdict({ path })).toBe('in')
      expect(await verdict({ path, ...elsewhere })).toBe('in')
      expect(await verdict({ path, ...elsewhere, authorization: 'Bearer wrong' })).toBe('in')
      expect(await verdict({ path, ...elsewhere }, { dev: true })).toBe('in')
    },
  )

  it.each([
    ...['/api/token', '/api/auth/status', '/api/auth/start', '/api/auth/login', '/api/access/lock', '/api/journal'],
    ...['/_openapi.json', '/api/yoto/v1/card', '/unknown', '', '//', '/API/HEALTH', '/api/health/x', '/index.html'],
  ])('%j is closed', async (path) => {
    expect(await verdict({ path })).toBe('unauthorized')
    expect(await verdict({ path, authorization: `Bearer ${KEY}` })).toBe('in')
  })
})

const HOSTS: [host: string, inProduction: boolean, inDev: boolean][] = [
  ['localhost', true, true],
  ['localhost:8080', true, true],
  ['LocalHost:3000', true, true],
  ['127.0.0.1:8080', true, true],
  ['127.9.9.9', true, true],
  ['[::1]', true, true],
  ['[::1]:8080', true, true],
  ['keeper.example', true, false],
  ['Keeper.Example', true, false],
  ['other.example:8080', true, false],
  ['other.example', false, false],
  ['keeper.example:8443', false, false],
  ['evil.example', false, false],
  ['localhost.evil.example', false, false],
  ['127.0.0.1.evil.example', false, false],
  ['keeper.example.evil.example', false, false],
  ['evil.example/localhost', false, false],
  ['evil@localhost', false, false],
  ['0.0.0.0:8080', false, false],
  ['192.0.2.1:8080', false, false],
  ['[::]:8080', false, false],
  ['localhost:port', false, false],
  ['', false, false],
]

const SITES: [name: string, caller: Partial<Caller>, expected: boolean][] = [
  ['nothing said', {}, true],
  ['the same origin', { origin: 'http://localhost:8080' }, true],
  ['the same origin in capitals', { origin: 'HTTP://LOCALHOST:8080' }, true],
  ['the same origin, over https', { origin: 'https://localhost:8080' }, true],
  ['another port', { origin: 'http://localhost:3000' }, false],
  ['another loopback name', { origin: 'http://127.0.0.1:8080' }, false],
  ['another origin', { origin: 'https://evil.example' }, false],
  ['an origin that looks like ours', { origin: 'http://localhost:8080.evil.example' }, false],
  ['our address as user name', { origin: 'http://localhost:8080@evil.example' }, false],
  ['an extension', { origin: 'chrome-extension://localhost:8080' }, false],
  ['the origin null', { origin: 'null' }, false],
  ['an empty origin', { origin: '' }, false],
  ['Sec-Fetch-Site same-origin', { secFetchSite: 'same-origin' }, true],
  ['Sec-Fetch-Site none', { secFetchSite: 'none' }, true],
  ['Sec-Fetch-Site same-site', { secFetchSite: 'same-site' }, false],
  ['Sec-Fetch-Site cross-site', { secFetchSite: 'cross-site' }, false],
  ['Sec-Fetch-Site in other words', { secFetchSite: 'whatever' }, false],
  [
    'the same origin and Sec-Fetch-Site cross-site',
    { origin: 'http://localhost:8080', secFetchSite: 'cross-site' },
    false,
  ],
]

describe('a browser', () => {
  const session = access.openSession()

  it.each(HOSTS)('that reached us as %j', async (host, expected) => {
    expect(await verdict({ host, session: await session })).toBe(expected ? 'in' : 'forbidden')
    expect(await verdict({ host, path: '/api/access/unlock' })).toBe(expected ? 'in' : 'forbidden')
  })

  it.each(SITES)('with %s', async (_, caller, expected) => {
    expect(await verdict({ ...caller, session: await session })).toBe(expected ? 'in' : 'forbidden')
    expect(await verdict({ ...caller, path: '/api/access/unlock' })).toBe(expected ? 'in' : 'forbidden')
    expect(await verdict({ ...caller })).toBe(expected ? 'unauthorized' : 'forbidden')
  })

  it('is held to a public address too', async () => {
    const ours = { host: 'keeper.example', session: await session }
    expect(await verdict({ ...ours, origin: 'https://keeper.example' })).toBe('in')
    expect(await verdict({ ...ours, origin: 'https://other.example:8080' })).toBe('forbidden')
    expect(await verdict(ours, { publicUrls: [] })).toBe('forbidden')
  })

  it('is let in with its session, and not with one that was made up', async () => {
    const value = await session
    const [until = '', mac = ''] = value.split('.')
    const forged = ['', '.', until, `${until}.`, `.${mac}`, `${until}.${'0'.repeat(64)}`, `${Number(until) - 1}.${mac}`]
    expect(await verdict({ session: value })).toBe('in')
    for (const session of [...forged, `NaN.${mac}`, `Infinity.${mac}`, KEY, '%', 'x'.repeat(5_000)]) {
      expect(await verdict({ session })).toBe('unauthorized')
    }
  })
})

describe('development', () => {
  const dev = { dev: true }
  const local = { devPeer: '127.0.0.1' }

  it.each([
    ['127.0.0.1', true],
    ['::1', true],
    ['::ffff:127.0.0.1', true],
    ['192.0.2.1', false],
    ['::ffff:192.0.2.1', false],
    ['127.0.0.1, 192.0.2.1', false],
    ['', false],
    [undefined, false],
  ])('serves the peer %s without a key', async (devPeer, expected) => {
    expect(await verdict({ devPeer }, dev)).toBe(expected ? 'in' : 'forbidden')
    expect(await verdict({ devPeer, authorization: `Bearer ${KEY}` }, dev)).toBe('in')
  })

  it.each(HOSTS)('reached as %j', async (host, _, expected) => {
    expect(await verdict({ ...local, host }, dev)).toBe(expected ? 'in' : 'forbidden')
  })

  it.each(SITES)('called with %s', async (_, caller, expected) => {
    expect(await verdict({ ...local, ...caller }, dev)).toBe(expected ? 'in' : 'forbidden')
  })

  it('is known by its build alone: the peer means nothing elsewhere', async () => {
    expect(await verdict(local)).toBe('unauthorized')
  })
})

describe('a session', () => {
  let dir: string
  beforeEach(() => {
    dir = freshFolder()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('is good for another instance, and after a restart', async () => {
    const value = await createAccess(durableFiles(dir), KEYS).openSession()
    expect(await createAccess(durableFiles(dir), KEYS).isSession(value)).toBe(true)
    expect(statSync(join(dir, SESSION_SECRET)).mode & 0o777).toBe(0o600)
  })

  it('ends with endSessions, everywhere', async () => {
    const [here, there] = [createAccess(durableFiles(dir), KEYS), createAccess(durableFiles(dir), KEYS)]
    const values = [await here.openSession(), await there.openSession()]
    await here.endSessions()
    for (const value of values) {
      expect(await here.isSession(value)).toBe(false)
      expect(await there.isSession(value)).toBe(false)
    }
    expect(await there.isSession(await here.openSession())).toBe(true)
  })

  it('ends with a change of the key', async () => {
    const value = await createAccess(durableFiles(dir), KEYS).openSession()
    expect(
      await createAccess(durableFiles(dir), { keeperKey: 'another-key-0123456789', toolKeys: [] }).isSession(value),
    ).toBe(false)
    expect(await createAccess(durableFiles(dir), NONE).isSession(value)).toBe(false)
  })

  it('ends after 30 days', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
    const access = createAccess(durableFiles(dir), KEYS)
    const value = await access.openSession()
    vi.setSystemTime(Date.now() + 30 * 24 * 3_600_000 - 1)
    expect(await access.isSession(value)).toBe(true)
    vi.setSystemTime(Date.now() + 1)
    expect(await access.isSession(value)).toBe(false)
  })

  it('that was signed for longer than 30 days is none', async () => {
    const access = createAccess(durableFiles(dir), KEYS)
    await access.openSession()
    const until = String(Date.now() + SESSION_LIFETIME + 60_000)
    const mac = await sign(readFileSync(join(dir, SESSION_SECRET), 'utf8'), `session ${until} ${KEY}`)
    expect(await access.isSession(`${until}.${mac}`)).toBe(false)
  })
})

/** Asks for the key of each folder at the same moment as its twin. */
const INSTANCE = `
  const { parentPort, workerData: { folders, arrived, modules } } = require('node:worker_threads')
  import('tsx/esm/api').then(async ({ register }) => {
    register()
    const [access, files] = await Promise.all(modules.map((name) => import(name)))
    const keys = []
    for (const [at, dir] of folders.entries()) {
      const store = files.durableFiles(dir)
      Atomics.add(arrived, at, 1)
      while (Atomics.load(arrived, at) < 2);
      keys.push(await access.createAccess(store, { toolKeys: [] }).unusedKey())
    }
    parentPort.postMessage(keys)
  })`

describe('the made key', () => {
  let dir: string
  beforeEach(() => {
    dir = freshFolder()
  })
  const stored = () => JSON.parse(readFileSync(join(dir, KEEPER_KEY), 'utf8'))

  it('is made once, of 256 bits, for its owner only', async () => {
    const key = await createAccess(durableFiles(dir), NONE).unusedKey()
    expect(key).toMatch(/^[0-9a-f]{64}$/)
    expect(stored()).toEqual({ key, used: false })
    expect(statSync(join(dir, KEEPER_KEY)).mode & 0o777).toBe(0o600)
    expect(await createAccess(durableFiles(dir), NONE).unusedKey()).toBe(key)
  })

  it('is the same for instances that start at the same time in one process', async () => {
    const instances = Array.from({ length: 8 }, () => createAccess(durableFiles(dir), NONE))
    const keys = await Promise.all(instances.map((one) => one.unusedKey()))
    expect(new Set(keys)).toEqual(new Set([stored().key]))
  })

  it('is the same for instances that start at the same time in several threads', async () => {
    const folders = Array.from({ length: 50 }, freshFolder)
    const arrived = new Int32Array(new SharedArrayBuffer(4 * folders.length))
    const ours = ['../../server/access/access.ts', '../../storage/stores/durable-files.ts']
    const modules = ours.map((path) => new URL(path, import.meta.url).href)
    const workerData = { folders, arrived, modules }
    const instance = () =>
      new Promise<string[]>((resolve, reject) => {
        new Worker(INSTANCE, { eval: true, workerData }).once('message', resolve).once('error', reject)
      })
    const [one = [], other = []] = await Promise.all([instance(), instance()])
    expect(one).toHaveLength(folders.length)
    expect(one.filter((key, at) => key !== other[at])).toEqual([])
  })

  it('lets in, and is unused until then', async () => {
    const access = createAccess(durableFiles(dir), NONE)
    const key = (await access.unusedKey()) ?? ''
    await expect(access.identify('wrong')).rejects.toMatchObject({ code: 'unauthorized' })
    expect(await access.unusedKey()).toBe(key)

    expect(await access.identify(key)).toBe('owner')
    expect(await access.unusedKey()).toBeUndefined()
    expect(stored()).toEqual({ key, used: true })

    const restarted = createAccess(durableFiles(dir), NONE)
    expect(await restarted.unusedKey()).toBeUndefined()
    expect(await restarted.identify(key)).toBe('owner')
  })

  it('is used by its first use before anything else was asked', async () => {
    const key = (await createAccess(durableFiles(dir), NONE).unusedKey()) ?? ''
    expect(await createAccess(durableFiles(dir), NONE).identify(key)).toBe('owner')
    expect(stored()).toEqual({ key, used: true })
  })

  it('is not made where there is a KEEPER_KEY, and counts for nothing there', async () => {
    const key = (await createAccess(durableFiles(dir), NONE).unusedKey()) ?? ''
    const access = createAccess(durableFiles(dir), KEYS)
    expect(await access.unusedKey()).toBeUndefined()
    await expect(access.identify(key)).rejects.toMatchObject({ code: 'unauthorized' })
    expect(stored()).toEqual({ key, used: false })

    const other = freshFolder()
    expect(await createAccess(durableFiles(other), KEYS).unusedKey()).toBeUndefined()
    expect(() => statSync(join(other, KEEPER_KEY))).toThrow('ENOENT')
  })

  it('is not made where files do not last: nobody gets in until KEEPER_KEY is set', async () => {
    const access = createAccess(durableFiles(dir), { toolKeys: [], storageWarning: 'gone with the next deployment' })
    const refusal = { code: 'not_configured', status: 503, hint: expect.stringContaining('KEEPER_KEY') }
    await expect(access.unusedKey()).rejects.toMatchObject(refusal)
    await expect(access.identify('anything')).rejects.toMatchObject(refusal)
    await expect(access.openSession()).rejects.toMatchObject(refusal)
    const caller = { path: '/api/auth/status', host: 'localhost' }
    await expect(admit(caller, access, { dev: false, publicUrls: [] })).rejects.toMatchObject(refusal)
    expect(existsSync(join(dir, KEEPER_KEY))).toBe(false)
    const withKey = createAccess(durableFiles(dir), { ...KEYS, storageWarning: 'gone with the next deployment' })
    expect(await withKey.identify(KEY)).toBe('owner')
  })

  it.each(['{"key":"', '{"key":"short","used":false}', '[]', 'null', '\0\0'])('is not read out of %j', async (text) => {
    writeFileSync(join(dir, KEEPER_KEY), text)
    const access = createAccess(durableFiles(dir), NONE)
    const refusal = { code: 'storage_unavailable', hint: expect.stringContaining('Set KEEPER_KEY, or remove') }
    await expect(access.unusedKey()).rejects.toMatchObject(refusal)
    await expect(access.identify('anything')).rejects.toMatchObject(refusal)
    expect(readFileSync(join(dir, KEEPER_KEY), 'utf8')).toBe(text)
  })

  it('is made anew where the file is empty', async () => {
    writeFileSync(join(dir, KEEPER_KEY), '')
    const key = await createAccess(durableFiles(dir), NONE).unusedKey()
    expect(stored()).toEqual({ key, used: false })
  })
})
