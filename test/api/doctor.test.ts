import { execFile, execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, type TestContext } from 'vitest'
import { readConfig } from '../../server/config'
import { configurationChecks } from '../../server/doctor/configuration'
import { createDoctor } from '../../server/doctor/doctor'
import { systemClock } from '../../server/keeper/clock'
import type { Keeper as TokenKeeper } from '../../server/keeper/keeper'
import type { Check as StorageCheck } from '../../storage'
import { canMount, mountSmallDisk } from '../faults/disk'
import {
  arrivals,
  askStatus,
  expectNoSecrets,
  RECORD,
  type Scene,
  setScene,
  settle,
  storedRecord,
  TOKEN,
} from '../faults/scene'
import { freePort, type Keeper, startKeeper } from '../support/keeper-process'
import { startRedis } from '../support/redis'
import { startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// What the doctor says of a service that is well, and of one fault at a time.

const isRoot = process.getuid?.() === 0
const NOBODY = 65_534
/** The disk that tests write to is no container's, and not memory. */
const isLasting = !/^(overlay|tmpfs|aufs|ramfs)/.test(
  execFileSync('stat', ['--file-system', '--format=%T', tmpdir()], { encoding: 'utf8' }),
)
const HOUR = 3_600_000
/** What is mounted for temporary files would be taken for a volume. */
const isOnRoot = statSync(tmpdir()).dev === statSync('/').dev
const PUBLIC_URL = 'https://keeper.example'
const OPENID = '/.well-known/openid-configuration'
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const IN_FILES = [
  ...['platform', 'client_id', 'keeper_key', 'public_url', 'writable', 'volume', 'room', 'file_modes'],
  ...['yoto_login', 'yoto_api', 'clock', 'sign_in', 'scope'],
]

interface Check {
  name: string
  ok: boolean
  message: string
  hint?: string
}

/** What is said, by name. Whatever it is, it is a sentence, has a hint where it is not ok, and holds none of `secrets`. */
async function examine(keeper: Keeper, secrets: string[] = []): Promise<Record<string, Check>> {
  const { status, headers, body } = await keeper.json<{ checks: Check[] }>('/api/doctor')
  expect({ status, cache: headers.get('cache-control') }).toEqual({ status: 200, cache: 'no-store' })
  for (const { name, ok, message, hint } of body.checks) {
    expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/)
    expect(message).toMatch(/^\S.*[.)]$/)
    expect(hint !== undefined, `${name}: ${message}`).toBe(!ok)
  }
  for (const secret of [keeper.key, ...secrets]) expect(JSON.stringify(body)).not.toContain(secret)
  return Object.fromEntries(body.checks.map((check) => [check.name, check]))
}

const secretsOf = ({ first }: Scene) => [first.refresh_token, first.access_token]
/** But for the folder's own disk where this runs in a container, or with its temporary files in memory. */
const badOnes = (checks: Record<string, Check>) =>
  Object.values(checks)
    .filter(({ ok, name, hint }) => !ok && !(name === 'volume' && hint?.includes('DATA_DIR to')))
    .map(({ name }) => name)

/** Signed in, the token good for hours, and nothing wrong. */
async function begin(context: TestContext, env: Record<string, string> = {}) {
  const scene = await setScene(context, 'valid', { leftover: false })
  const keeper = await scene.start({ PUBLIC_URL, ...env })
  return { ...scene, scene, keeper, look: () => examine(keeper, secretsOf(scene)) }
}

describe.concurrent('the doctor', () => {
  it('finds nothing where all is well, and leaves everything as it was', async (context) => {
    const { scene, dir, yoto, keeper, look } = await begin(context, { YOTO_CLIENT_SECRET: 'client-secret-nobody-sees' })
    // But for the journal, in which the start is still being noted.
    const names = () => readdirSync(dir).filter((name) => !name.includes('journal'))
    const state = () => ({ record: storedRecord(dir), token: statSync(join(dir, TOKEN)).mtimeMs, names: names() })
    const before = state()
    const checks = await look()
    expect(badOnes(checks)).toEqual([])
    expect(Object.keys(checks)).toEqual(IN_FILES)
    expect(checks.platform?.message).toBe(`node-server on Node ${process.versions.node}; kept in ${dir}.`)
    expect(JSON.stringify(checks)).not.toContain('client-secret-nobody-sees')
    expect(state()).toEqual(before)
    expect(scene.refreshes()).toHaveLength(0)
    expect(yoto.counts).toMatchObject({ device: 0, polls: 0, revoked: 0 })
    expectNoSecrets(keeper, scene)
  })

  it('says that there is no client id', async (context) => {
    const { client_id, sign_in } = await (await begin(context, { YOTO_CLIENT_ID: '' })).look()
    expect(client_id).toMatchObject({ ok: false, hint: expect.stringContaining('YOTO_CLIENT_ID') })
    expect(sign_in).toMatchObject({ ok: false })
  })

  it('says that others may read a file, or own it, and how that is mended', async (context) => {
    const { dir, look } = await begin(context)
    chmodSync(join(dir, TOKEN), 0o644)
    chmodSync(join(dir, RECORD), 0o660)
    if (isRoot) chownSync(join(dir, RECORD), NOBODY, NOBODY)
    const checks = await look()
    expect(badOnes(checks)).toEqual(['file_modes'])
    const { message, hint = '' } = checks.file_modes as Check
    for (const name of [TOKEN, RECORD]) expect(message).toContain(join(dir, name))
    const command = /`(.*)`/.exec(hint)?.[1] ?? ''
    expect(command).toContain('chmod 600 ')
    execFileSync('sh', ['-c', command])
    expect(badOnes(await look())).toEqual([])
    expect(statSync(join(dir, TOKEN)).mode & 0o777).toBe(0o600)
    expect(statSync(join(dir, RECORD)).uid).toBe(process.getuid?.())
  })

  it.runIf(isRoot)('says that a file of the right mode is somebody else’s', async (context) => {
    const { dir, look } = await begin(context)
    chownSync(join(dir, TOKEN), NOBODY, NOBODY)
    expect((await look()).file_modes).toMatchObject({ ok: false, hint: expect.stringContaining('`chown 0 ') })
  })

  it('says that Yoto is away', async (context) => {
    const { yoto, look } = await begin(context)
    await yoto.pause()
    const checks = await look()
    expect(badOnes(checks)).toEqual(['yoto_login', 'yoto_api'])
    expect(checks.yoto_login?.hint).toContain('YOTO_AUTH_URL')
    expect(checks.yoto_api?.hint).toContain('YOTO_API_URL')
    expect(checks).not.toHaveProperty('clock')
    await yoto.resume()
    expect(badOnes(await look())).toEqual([])
  })

  it.for<[who: string, path: string, name: string]>([
    ['the sign-in server', OPENID, 'yoto_login'],
    ['the API', '/', 'yoto_api'],
  ])('says that %s is out of order, or silent', async ([_, path, name], context) => {
    const { yoto, look } = await begin(context)
    yoto.inject({ kind: 'status', status: 503 }, { path })
    const broken = await look()
    expect(badOnes(broken)).toEqual([name])
    expect(broken[name]?.message).toContain('503')
    yoto.inject({ kind: 'timeout' }, { path })
    const silent = await look()
    expect(badOnes(silent)).toEqual([name])
    expect(silent[name]?.message).toContain('no answer')
    expect(silent.clock).toMatchObject({ ok: true }) // by the other one
    yoto.inject({ kind: 'redirect', location: 'http://127.0.0.1:1/' }, { path })
    expect(badOnes(await look())).toEqual([])
  })

  it.for<[how: string, difference: number, age: string | undefined, said: string | undefined]>([
    ['5 hours behind', 5 * HOUR, undefined, '5 hours behind'],
    ['5 hours ahead', -5 * HOUR, undefined, '5 hours ahead of'],
    ['2 minutes ahead', -2 * 60_000, undefined, '2 minutes ahead of'],
    ['half a minute behind', 30_000, undefined, undefined],
    ['half a minute ahead', -30_000, undefined, undefined],
    ['right, and the answer is an old one out of a cache', -HOUR, '3600', undefined],
  ])('measures the clock: %s', async ([_, difference, age, said], context) => {
    const { yoto, look } = await begin(context)
    const date = new Date(Date.now() + difference).toUTCString()
    yoto.inject({ kind: 'status', status: 404, headers: { date, ...(age && { age }) } }, { path: OPENID })
    const checks = await look()
    expect(badOnes(checks)).toEqual(said ? ['clock'] : [])
    if (said) expect(checks.clock?.message).toContain(said)
  })

  it('is made once for all who ask at the same time, and anew for who asks later', async (context) => {
    const since = performance.now()
    const { yoto, keeper, look } = await begin(context)
    const asked = () => [OPENID, '/'].map((path) => arrivals(yoto.url, path, since).length)
    const held = yoto.hold({ path: OPENID })
    const first = look()
    await held.reached
    const others = [look(), look()]
    await settle(keeper)
    await waitUntil(() => asked()[1] === 1, { what: 'both of Yoto’s servers were asked, though one has not answered' })
    held.release()
    for (const other of others) expect(await other).toEqual(await first)
    expect(asked()).toEqual([1, 1])
    await look()
    expect(asked()).toEqual([2, 2])
  })

  it.for<[how: string, granted: string | undefined, asked: string, said: string | undefined]>([
    ['without offline_access', 'family:view', 'offline_access', 'offline_access is missing'],
    ['with less than was asked for', 'offline_access', 'family:view openid', 'family:view openid is missing'],
    ['with a scope that Yoto does not list', 'offline_access famly:view', 'famly:view', 'not list: famly:view'],
    ['with more than was asked for', 'offline_access family:view', 'offline_access', undefined],
    ['with nothing said about it', undefined, 'family:view', undefined],
  ])('compares the scope: signed in %s', async ([_, granted, asked, said], context) => {
    const scene = await setScene(context, 'valid', { leftover: false })
    const record = JSON.stringify({ ...storedRecord(scene.dir), scope: granted })
    writeFileSync(join(scene.dir, RECORD), record)
    const keeper = await scene.start({ PUBLIC_URL, YOTO_SCOPE: asked })
    const checks = await examine(keeper, secretsOf(scene))
    expect(badOnes(checks)).toEqual(said ? ['scope'] : [])
    if (said) expect(checks.scope).toMatchObject({ message: expect.stringContaining(said) })
    if (said) expect(checks.scope?.hint).toContain('YOTO_SCOPE')
  })

  it('says that nobody is signed in, or that Yoto has ended the sign-in', async (context) => {
    const { yoto, dir, keeper, look } = await begin(context)
    for (const name of [TOKEN, RECORD]) rmSync(join(dir, name))
    await keeper.json('/api/auth/logout', { method: 'POST' })
    const out = await look()
    expect(badOnes(out)).toEqual(['sign_in'])
    expect(out.sign_in).toMatchObject({ message: 'Nobody is signed in.', hint: expect.stringContaining(PUBLIC_URL) })
    writeFileSync(join(dir, TOKEN), 'a-token-that-is-none', { mode: 0o600 })
    await waitUntil(async () => (await askStatus(keeper)).state === 'needs_sign_in', { what: 'Yoto had refused it' })
    expect((await look()).sign_in).toMatchObject({ ok: false, message: expect.stringContaining('sign in again') })
    expect(yoto.counts.refresh_refused).toBe(1)
  })

  it.skipIf(!isOnRoot)(
    'says on Railway that the files are on no volume, and that the address is not known',
    async (context) => {
      const { look } = await begin(context, { RAILWAY_ENVIRONMENT_NAME: 'production', PUBLIC_URL: '' })
      const checks = await look()
      expect(badOnes(checks)).toEqual(['public_url', 'volume'])
      expect(checks.volume?.hint).toContain('railway volume add')
      expect(checks.public_url?.hint).toContain('PUBLIC_URL')
    },
  )

  it('says that Redis is gone', async (context) => {
    const password = 'hush-hush-redis'
    const redis = await startRedis({ password, durable: true })
    context.onTestFinished(() => redis.stop())
    const { look } = await begin(context, { REDIS_URL: redis.url })
    const well = await look()
    expect(badOnes(well)).toEqual(['sign_in']) // nobody is
    const OF_FILES = ['volume', 'room', 'file_modes']
    expect(Object.keys(well)).toEqual(
      IN_FILES.flatMap((name) => (name === 'volume' ? ['durability'] : OF_FILES.includes(name) ? [] : [name])),
    )
    expect(await redis.client.keys('*doctor*')).toEqual([])
    await redis.kill()
    const gone = await look()
    expect(badOnes(gone)).toEqual(['writable', 'sign_in'])
    expect(gone.writable?.hint).toContain('REDIS_URL')
    expect(JSON.stringify(gone)).not.toContain(password)
  })
})

describe.skipIf(!canMount)('the doctor on a disk', { concurrent: true }, () => {
  const onDisk = async (context: TestContext, size?: string) => {
    const begun = await begin(context)
    const disk = mountSmallDisk(begun.dir, size)
    context.onTestFinished(disk.unmount)
    return { ...begun, disk }
  }

  it('that is full', async (context) => {
    const { disk, look } = await onDisk(context)
    disk.fill()
    const { room, writable } = await look()
    expect(room).toMatchObject({ ok: false, message: expect.stringContaining('almost full') })
    expect(writable).toMatchObject({ ok: false, hint: expect.stringContaining('disk is full') })
    disk.free()
    await waitUntil(async () => (await look()).writable?.ok, { what: 'it could be written again' })
  })

  it('that is read-only', async (context) => {
    const { disk, look } = await onDisk(context, 'size=64m')
    disk.readOnly(true)
    const { room, writable } = await look()
    expect(room).toMatchObject({ ok: true })
    expect(writable).toMatchObject({ ok: false, hint: expect.stringContaining('DATA_DIR') })
  })

  it('that takes hardly another file', async (context) => {
    const { look } = await onDisk(context, 'size=64m,nr_inodes=40')
    const { room, writable } = await look()
    expect(room).toMatchObject({ ok: false, hint: expect.stringContaining('df -i') })
    expect(writable).toMatchObject({ ok: true })
  })

  it('that is none, but memory, where nothing says that it has to be a volume', async (context) => {
    const { dir, look } = await onDisk(context)
    const { volume } = await look()
    expect(volume).toMatchObject({ ok: false, message: expect.stringContaining(`${dir} is in memory`) })
    expect(volume?.hint).toContain('DATA_DIR')
  })

  it.skipIf(!isOnRoot)('that is Railway’s volume, whatever its name, or is not mounted', async (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'volume-'))
    context.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const dir = join(folder, 'my data')
    mkdirSync(join(dir, 'below'), { recursive: true })
    const disk = mountSmallDisk(dir)
    context.onTestFinished(disk.unmount)
    mkdirSync(join(dir, 'below'))
    const volume = { RAILWAY_ENVIRONMENT_NAME: 'production', RAILWAY_VOLUME_MOUNT_PATH: dir }
    const { look } = await begin(context, { ...volume, DATA_DIR: join(dir, 'below') })
    expect((await look()).volume).toMatchObject({ ok: true, message: expect.stringContaining(`mounted at ${dir}.`) })
    disk.unmount()
    expect((await look()).volume).toMatchObject({ ok: false, hint: expect.stringContaining('railway volume') })
  })
})

describe('the doctor, whatever a check does', () => {
  it('lists what breaks and what hangs, and repeats no error’s words', async (context) => {
    const yoto = await startStandIn()
    context.onTestFinished(() => yoto.stop())
    const config = readConfig({ YOTO_CLIENT_ID: 'x', YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url }, '/nowhere')
    const keeper = { seek: async () => {}, snapshot: () => ({ kept: false, timeLeft: 0 }) } as unknown as TokenKeeper
    const storageChecks: StorageCheck[] = [
      { name: 'breaks', look: () => Promise.reject(Object.assign(new Error('secret'), { code: 'EIO' })) },
      { name: 'throws', look: () => JSON.parse('secret') },
      { name: 'hangs', look: () => new Promise(() => {}) },
      { name: 'applies_not', look: async () => undefined },
    ]
    const checks = await createDoctor({ config, place: 'x', keeper, clock: systemClock, storageChecks }).examine()
    const found = (name: string) => checks.find((one) => one.name === name)
    expect(found('breaks')).toMatchObject({ ok: false, message: expect.stringContaining('EIO') })
    expect(found('throws')).toMatchObject({ ok: false })
    expect(found('hangs')).toMatchObject({ ok: false, message: expect.stringContaining('no answer') })
    expect(found('applies_not')).toBeUndefined()
    expect(found('clock')).toMatchObject({ ok: true })
    expect(JSON.stringify(checks)).not.toContain('secret')
  })

  it.each([
    ['set', { KEEPER_KEY: 'k'.repeat(16) }, true],
    ['made', {}, true],
    ['neither set nor to be made', { RAILWAY_ENVIRONMENT_NAME: 'production' }, false],
  ])('says of a key that is %s', async (_, env, ok) => {
    const check = configurationChecks(readConfig(env, '/nowhere'), 'x').find(({ name }) => name === 'keeper_key')
    const found = await check?.look()
    expect(found).toMatchObject({ ok })
    expect(found?.hint ?? 'KEEPER_KEY').toContain('KEEPER_KEY')
  })
})

describe('npm run doctor', () => {
  interface Ran {
    code: number
    output: string
  }

  function run(env: Record<string, string>, cwd = ROOT): Promise<Ran> {
    const { PATH = '', HOME = '' } = process.env
    return new Promise((resolve) => {
      execFile('npm', ['run', '--silent', 'doctor'], { cwd, env: { PATH, HOME, ...env } }, (error, stdout, stderr) =>
        resolve({ code: Number(error?.code ?? 0), output: stdout + stderr }),
      )
    })
  }

  it.skipIf(!isLasting)('prints a line a check, and says by its exit code whether all is well', async (context) => {
    const { yoto, keeper, scene } = await begin(context)
    const env = { KEEPER_URL: keeper.url, KEEPER_KEY: keeper.key }
    const well = await run(env)
    const lines = well.output.trimEnd().split('\n')
    expect(lines.slice(0, -1).map((line) => /^ok {4}(\w+) +\S/.exec(line)?.[1])).toEqual(IN_FILES)
    expect({ code: well.code, last: lines.at(-1) }).toEqual({ code: 0, last: 'All is well.' })

    await yoto.pause()
    const ill = await run({ ...env, FORCE_COLOR: '1' })
    expect(ill.code).toBe(1)
    const ESC = String.fromCharCode(27)
    expect(ill.output).toContain(`${ESC}[31mFAIL${ESC}[0m  yoto_login`)
    expect(ill.output).toMatch(/yoto_api.*\n.*->.*YOTO_API_URL/)
    expect(ill.output).toContain('2 of 12 checks')
    expect((await run({ ...env, FORCE_COLOR: '1', NO_COLOR: '1' })).output).not.toContain(ESC)
    for (const secret of [keeper.key, ...secretsOf(scene)]) expect(well.output + ill.output).not.toContain(secret)
  })

  it('says what to do where no service is, where it has another key, and where something else answers', async (context) => {
    const { yoto, keeper } = await begin(context)
    const PORT = String(await freePort())
    const nobody = await run({ PORT })
    expect(nobody).toMatchObject({
      code: 1,
      output: expect.stringMatching(/No service answers(.|\n)*npm run dev(.|\n)*KEEPER_URL/),
    })
    expect(nobody.output).toContain(PORT)
    const wrong = await run({ KEEPER_URL: `${keeper.url}/`, KEEPER_KEY: 'wrong-key-0123456789' })
    expect(wrong).toMatchObject({ code: 1, output: expect.stringContaining('Set KEEPER_KEY') })
    expect(wrong.output).not.toContain('wrong-key')
    const other = await run({ KEEPER_URL: yoto.url, KEEPER_KEY: keeper.key })
    expect(other).toMatchObject({ code: 1, output: expect.stringContaining('KEEPER_URL') })
  })

  it('needs no more than the output, and finds the key that the service has made', async (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'deployed-'))
    context.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    for (const part of ['package.json', '.output/server/doctor.mjs']) cpSync(join(ROOT, part), join(folder, part))
    const keeper = await startKeeper({
      env: { KEEPER_KEY: '', YOTO_CLIENT_ID: 'x', YOTO_AUTH_URL: 'http://127.0.0.1:1' },
    })
    context.onTestFinished(async () => void (await keeper.kill()))
    const PORT = new URL(keeper.url).port
    await waitUntil(() => readdirSync(keeper.cwd).includes('.yoto_keeper_key'), { what: 'a key was made' })
    const where: Record<string, string>[] = [
      { DATA_DIR: keeper.cwd },
      { RAILWAY_ENVIRONMENT_NAME: 'production', RAILWAY_VOLUME_MOUNT_PATH: keeper.cwd },
    ]
    for (const env of where) {
      const { code, output } = await run({ PORT, ...env }, folder)
      expect({ code, output }).toMatchObject({ code: 1, output: expect.stringContaining('The key was made') })
    }
    expect((await run({ PORT }, folder)).output).toContain('asks for its key')
  })
})
