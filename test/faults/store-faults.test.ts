import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Keeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'
import { canMount, mountSmallDisk } from './disk'
import {
  type AccessToken,
  askReady,
  askStatus,
  askToken,
  duringRefresh,
  expectSignedIn,
  expectSignedOut,
  expectStored,
  expectWorkingToken,
  FOR_REFRESH,
  letTimePass,
  place,
  RECORD,
  refresh,
  type Scene,
  setScene,
  signIn,
  signOut,
  storedRecord,
  storedToken,
  TOKEN,
} from './scene'

/**
 * What goes wrong with the store, one test a fault: what a caller sees, what is on disk, what Yoto was asked, that nobody is signed out
 * who need not be, and that nobody who signed out is signed in again (DESIGN, rules 5, 6, 8, 10, 12).
 */

const isRoot = process.getuid?.() === 0
const NOBODY = 65_534

type Context = Parameters<typeof setScene>[0]

/** A scene whose folder is a disk of its own. */
async function setSceneOnDisk(context: Context, access: AccessToken) {
  const scene = await setScene(context, access, { leftover: false })
  const disk = mountSmallDisk(scene.dir)
  context.onTestFinished(disk.unmount)
  place(scene.dir, scene.yoto, scene.first, access)
  return { ...scene, disk }
}

/** The store is at fault: callers are told so, with a mend; the sign-in is not said to be over; Yoto is left alone. */
async function expectStorageTrouble(keeper: Keeper, scene: Scene, mend: RegExp): Promise<void> {
  const sent = scene.refreshes().length
  await waitUntil(async () => (await askReady(keeper)).status === 503, {
    what: 'the service said that it is not ready',
  })
  expect(await askReady(keeper)).toMatchObject({ body: { ready: false, reason: 'storage_unavailable' } })
  const { status, body } = await askToken(keeper)
  expect({ status, error: body.error }).toEqual({ status: 503, error: 'storage_unavailable' })
  const said = await askStatus(keeper)
  expect(said).toMatchObject({ authenticated: false, storage: { warning: expect.any(String) } })
  expect(scene.refreshes()).toHaveLength(sent)
  expect(`${body.message} ${body.hint}`).toMatch(mend)
  expect(`${said.message} ${said.hint}`).toMatch(mend)
}

describe.skipIf(!canMount)('a disk', { concurrent: true }, () => {
  const causes: [name: string, begin: 'fill' | 'readOnly', mend: RegExp][] = [
    ['full', 'fill', /disk is full/],
    ['read-only', 'readOnly', /read-only/],
  ]
  const breakDisk = ({ disk }: Awaited<ReturnType<typeof setSceneOnDisk>>, how: 'fill' | 'readOnly') =>
    how === 'fill' ? disk.fill() : disk.readOnly(true)
  const mendDisk = ({ disk }: Awaited<ReturnType<typeof setSceneOnDisk>>, how: 'fill' | 'readOnly') =>
    how === 'fill' ? disk.free() : disk.readOnly(false)

  it.for(causes)(
    '%s before a refresh: nothing is sent, and it goes on when there is room',
    async ([, how, mend], context) => {
      const scene = await setSceneOnDisk(context, 'expired')
      breakDisk(scene, how)
      const keeper = await scene.start()
      await expectStorageTrouble(keeper, scene, mend)
      expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in' })
      expect((await refresh(keeper)).body).toMatchObject({ error: 'storage_unavailable' })
      await expectStored(scene.dir, `${scene.first.refresh_token}\n`)
      expect(scene.refreshes()).toHaveLength(0)
      mendDisk(scene, how)
      await expectSignedIn(keeper, scene)
      expect(scene.refreshes()).toHaveLength(1)
    },
  )

  it.for(causes)(
    '%s before a refresh, the access token still valid: callers notice nothing',
    async ([, how], context) => {
      const scene = await setSceneOnDisk(context, 'valid')
      breakDisk(scene, how)
      const keeper = await scene.start()
      expect((await refresh(keeper)).body).toMatchObject({ error: 'storage_unavailable' })
      expect(await askToken(keeper)).toMatchObject({ status: 200, body: { access_token: scene.first.access_token } })
      expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in', authenticated: true, problem: 'not_saved' })
      expect(scene.refreshes()).toHaveLength(0)
      await expectStored(scene.dir, `${scene.first.refresh_token}\n`)
      mendDisk(scene, how)
      await expectSignedIn(keeper, scene)
    },
  )

  it.for(causes)(
    '%s between answer and save: served from memory, not rotated again, saved later',
    async (row, context) => {
      const [, how, mend] = row
      const scene = await setSceneOnDisk(context, 'valid')
      const { yoto, dir, first } = scene
      const keeper = await scene.start()
      const answer = await duringRefresh(keeper, scene, () => breakDisk(scene, how))
      expect(answer).toMatchObject({ status: 503, body: { error: 'storage_unavailable' } })
      const token = await expectWorkingToken(keeper, yoto)
      expect(token).not.toBe(first.access_token)

      const look = async () => {
        expect((await askToken(keeper)).body).toMatchObject({ access_token: token })
        const said = await askStatus(keeper)
        expect(said).toMatchObject({ state: 'signed_in', authenticated: true, problem: 'not_saved' })
        expect(`${said.message} ${said.hint}`).toMatch(mend)
        expect(await askReady(keeper)).toMatchObject({ status: 503, body: { reason: 'not_saved' } })
        await expectStored(dir, `${first.refresh_token}\n`)
      }
      await look()
      await refresh(keeper)
      // Nobody else may spend the old token meanwhile: another process gets neither the lease nor Yoto's ear.
      const other = await scene.start()
      expect((await refresh(other)).body).toMatchObject({ error: 'storage_unavailable' })
      await look()
      expect(scene.refreshes()).toHaveLength(1)
      await other.kill()

      mendDisk(scene, how)
      await expectSignedIn(keeper, scene)
      expect((await askToken(keeper)).body).toMatchObject({ access_token: token })
      expect(scene.refreshes()).toHaveLength(1)
      await keeper.stop()
      await expectSignedIn(await scene.start(), scene)
      expect(scene.refreshes()).toHaveLength(1)
    },
  )

  it('full while Yoto refuses: the refusal is written down later, and the token not sent after a restart', async (context) => {
    const scene = await setSceneOnDisk(context, 'expired')
    const { yoto, disk } = scene
    yoto.inject({ kind: 'reset-after' }, FOR_REFRESH)
    const held = yoto.hold(FOR_REFRESH)
    const keeper = await scene.start()
    await held.reached
    disk.fill()
    held.release()
    await waitUntil(async () => (await askStatus(keeper)).state === 'needs_sign_in', { what: 'Yoto had refused' })
    disk.free()
    await letTimePass(keeper, yoto)
    await keeper.stop()
    const again = await scene.start()
    await waitUntil(async () => (await askStatus(again)).state === 'needs_sign_in', { what: 'the service said so' })
    expect(scene.refreshes()).toHaveLength(2)
  })

  it('full at a sign-out: it succeeds, and lasts', async (context) => {
    const scene = await setSceneOnDisk(context, 'valid')
    const keeper = await scene.start()
    // With a second name for the token's file its removal frees no room either.
    linkSync(join(scene.dir, TOKEN), join(scene.dir, 'second-name'))
    scene.disk.fill()
    expect(await signOut(keeper)).toMatchObject({ status: 200, body: { success: true } })
    expect(scene.yoto.isRevoked(scene.first.refresh_token)).toBe(true)
    expect(existsSync(join(scene.dir, TOKEN))).toBe(false)
    scene.disk.free()
    await expectSignedOut(keeper, scene)
  })

  it('read-only at a sign-out: it fails aloud, and nothing is half done', async (context) => {
    const scene = await setSceneOnDisk(context, 'valid')
    const keeper = await scene.start()
    scene.disk.readOnly(true)
    expect(await signOut(keeper)).toMatchObject({ status: 503, body: { error: 'storage_unavailable' } })
    expect(scene.yoto.counts.revoked).toBe(0)
    expect(await askToken(keeper)).toMatchObject({ status: 200, body: { access_token: scene.first.access_token } })
    scene.disk.readOnly(false)
    expect(await signOut(keeper)).toMatchObject({ status: 200, body: { success: true } })
    await expectSignedOut(keeper, scene)
  })

  it.for(causes)(
    'that is empty and %s comes between (a volume unmounted): warned, and forgotten when it is gone',
    async (row, context) => {
      const [, how] = row
      const scene = await setScene(context, 'valid')
      const keeper = await scene.start()
      const empty = `${scene.dir}-empty`
      mkdirSync(empty)
      const disk = mountSmallDisk(empty)
      context.onTestFinished(disk.unmount)
      breakDisk({ ...scene, disk }, how)
      const uncover = disk.cover(scene.dir)
      context.onTestFinished(uncover)
      await waitUntil(async () => (await askReady(keeper)).status === 503, {
        what: 'the service said that it is not ready',
      })
      expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in', authenticated: true, problem: 'not_saved' })
      expect(await askToken(keeper)).toMatchObject({ status: 200, body: { access_token: scene.first.access_token } })
      uncover()
      await waitUntil(async () => (await askReady(keeper)).status === 200, { what: 'the service was ready again' })
      expect(await askStatus(keeper)).not.toHaveProperty('problem')
      expect(storedToken(scene.dir)).toBe(`${scene.first.refresh_token}\n`)
      expect(scene.refreshes()).toHaveLength(0)
    },
  )
})

describe.concurrent('a folder', () => {
  it('goes away and comes back: a valid token is served on, and all is well afterwards', async (context) => {
    const scene = await setScene(context, 'valid')
    const { dir, first } = scene
    const keeper = await scene.start()
    renameSync(dir, `${dir}-away`)
    await waitUntil(async () => (await askReady(keeper)).status === 503, {
      what: 'the service said that it is not ready',
    })
    expect((await askReady(keeper)).body).toMatchObject({ reason: 'storage_unavailable' })
    expect(await askToken(keeper)).toMatchObject({ status: 200, body: { access_token: first.access_token } })
    expect(await askStatus(keeper)).toMatchObject({
      state: 'signed_in',
      authenticated: true,
      hint: expect.stringMatching(/mount the volume/),
    })
    expect(existsSync(dir)).toBe(false)
    renameSync(`${dir}-away`, dir)
    await waitUntil(async () => (await askReady(keeper)).status === 200, { what: 'the service was ready again' })
    expect(await askStatus(keeper)).not.toHaveProperty('problem')
    expect(storedToken(dir)).toBe(`${first.refresh_token}\n`)
    expect(await refresh(keeper)).toMatchObject({ status: 200 })
    await expectSignedIn(keeper, scene)
  })

  it('is not there at the start and comes later: the sign-in in it is taken up', async (context) => {
    const scene = await setScene(context, 'expired')
    renameSync(scene.dir, `${scene.dir}-away`)
    const keeper = await scene.start()
    await expectStorageTrouble(keeper, scene, /mount the volume/)
    expect(existsSync(scene.dir)).toBe(false)
    renameSync(`${scene.dir}-away`, scene.dir)
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes()).toHaveLength(1)
  })

  it('goes away while nobody is signed in: that is what is said, with the mend, until somebody signs in again', async (context) => {
    const scene = await setScene(context, 'none', { leftover: false })
    const { dir, yoto } = scene
    rmSync(join(dir, TOKEN))
    const keeper = await scene.start()
    for (const turn of ['at the start', 'after a sign-out']) {
      renameSync(dir, `${dir}-away`)
      await expectStorageTrouble(keeper, scene, /mount the volume/)
      expect(await askStatus(keeper), turn).toMatchObject({
        state: 'signed_out',
        message: expect.stringMatching(/^Nobody is signed in\. Cannot read/),
      })
      renameSync(`${dir}-away`, dir)
      await waitUntil(async () => (await askReady(keeper)).status === 200, { what: 'the service was ready again' })
      expect(await askStatus(keeper), turn).toMatchObject({ state: 'signed_out', message: 'Nobody is signed in.' })
      await signIn(keeper, yoto)
      await expectSignedIn(keeper, scene)
      await signOut(keeper)
    }
  })

  it('goes away after what lay there was no token: nobody is said to have signed out', async (context) => {
    const scene = await setScene(context, 'none')
    writeFileSync(join(scene.dir, TOKEN), '')
    const keeper = await scene.start()
    renameSync(scene.dir, `${scene.dir}-away`)
    await expectStorageTrouble(keeper, scene, /mount the volume/)
    expect((await askStatus(keeper)).state).toBe('needs_sign_in')
  })

  it('is replaced by an empty one: the sign-in is saved again', async (context) => {
    const scene = await setScene(context, 'valid')
    const { dir, first } = scene
    const keeper = await scene.start()
    renameSync(dir, `${dir}-away`)
    mkdirSync(dir)
    await waitUntil(() => existsSync(join(dir, RECORD)), { what: 'the sign-in was saved again' })
    await expectStored(dir, first.refresh_token)
    expect(storedRecord(dir)).toMatchObject({ access_token: first.access_token })
    await waitUntil(async () => !(await askStatus(keeper)).problem, { what: 'all was well' })
    await waitUntil(() => keeper.log().includes('saved again'), { what: 'the log said so' })
    await keeper.stop()
    const again = await scene.start()
    expect(await askToken(again)).toMatchObject({ status: 200, body: { access_token: first.access_token } })
    expect(scene.refreshes()).toHaveLength(0)
  })

  it('is replaced by an empty one during a refresh: what Yoto issued is saved there', async (context) => {
    const scene = await setScene(context, 'valid')
    const { dir } = scene
    const keeper = await scene.start()
    await duringRefresh(keeper, scene, () => {
      renameSync(dir, `${dir}-away`)
      mkdirSync(dir)
    })
    await waitUntil(() => existsSync(join(dir, RECORD)), { what: 'the sign-in was saved' })
    await expectSignedIn(keeper, scene)
    expect(scene.yoto.counts).toMatchObject({ refresh_ok: 1, revoked: 0 })
    await keeper.stop()
    await expectSignedIn(await scene.start(), scene)
    expect(scene.refreshes()).toHaveLength(1)
  })

  it.skipIf(!isRoot)(
    'belongs to somebody else: nothing is sent, and it goes on when that is mended',
    async (context) => {
      const scene = await setScene(context, 'expired', { leftover: false })
      chmodSync(dirname(scene.dir), 0o755)
      for (const name of [TOKEN, RECORD]) chownSync(join(scene.dir, name), NOBODY, NOBODY)
      const keeper = await scene.start({}, { uid: NOBODY })
      await expectStorageTrouble(keeper, scene, /right to write/)
      expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in' })
      await expectStored(scene.dir, `${scene.first.refresh_token}\n`)
      chownSync(scene.dir, NOBODY, NOBODY)
      await expectSignedIn(keeper, scene)
      expect(scene.refreshes()).toHaveLength(1)
    },
  )
})

describe.concurrent('a token file', () => {
  it.skipIf(!isRoot)(
    'belongs to somebody else: nobody is said to have signed out, and it is read when that is mended',
    async (context) => {
      const scene = await setScene(context, 'expired', { leftover: false })
      chmodSync(dirname(scene.dir), 0o755)
      chownSync(scene.dir, NOBODY, NOBODY)
      const keeper = await scene.start({}, { uid: NOBODY })
      await expectStorageTrouble(keeper, scene, /cannot read \.yoto_refresh_token.*right to/i)
      expect((await askStatus(keeper)).state).not.toBe('signed_out')
      await expectStored(scene.dir, `${scene.first.refresh_token}\n`)
      for (const name of [TOKEN, RECORD]) chownSync(join(scene.dir, name), NOBODY, NOBODY)
      await expectSignedIn(keeper, scene)
      expect(scene.refreshes()).toHaveLength(1)
    },
  )

  const put = (bytes: string | Buffer) => (path: string) => writeFileSync(path, bytes, { mode: 0o600 })
  it.for<[string, (path: string) => void, string, RegExp]>([
    ['is a directory', (path) => mkdirSync(path), 'storage_unavailable', /is a directory.*move/i],
    ['is larger than 1 MiB', put('x'.repeat(1024 * 1024 + 1)), 'storage_unavailable', /larger than 1 MiB.*move/i],
    ['is larger than 64 kB', put('x'.repeat(64 * 1024 + 1)), 'needs_sign_in', /larger than 64 kB.*sign in/i],
    ['is binary', put(randomBytes(512)), 'needs_sign_in', /not text.*sign in/i],
    ['is empty', put(''), 'needs_sign_in', /empty.*sign in/i],
    ['is blank', put(' \n\n'), 'needs_sign_in', /empty.*sign in/i],
  ])('%s: it says so, sends nothing, leaves it, and takes the right one', async ([, spoil, error, mend], context) => {
    const scene = await setScene(context, 'expired', { leftover: false })
    const { dir, first, yoto } = scene
    const path = join(dir, TOKEN)
    rmSync(path)
    spoil(path)
    const bytes = () => statSync(path).isFile() && readFileSync(path).toString('latin1')
    const before = bytes()
    const keeper = await scene.start()
    const look = async () => {
      const { status, body } = await askToken(keeper)
      expect({ status, error: body.error }).toEqual({ status: error === 'needs_sign_in' ? 409 : 503, error })
      expect(`${body.message} ${body.hint}`).toMatch(mend)
      const said = await askStatus(keeper)
      expect(said).toMatchObject({ authenticated: false, state: 'needs_sign_in' })
      expect(`${said.message} ${said.hint}`).toMatch(mend)
      expect(bytes() === before).toBe(true)
    }
    await look()
    await refresh(keeper)
    if (error === 'needs_sign_in') await letTimePass(keeper, yoto)
    await look()
    expect(scene.refreshes()).toHaveLength(0)
    rmSync(path, { recursive: true })
    place(dir, yoto, first, 'none')
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes()).toHaveLength(1)
  })

  it.for<[string, string | Buffer]>([
    ['binary', randomBytes(512)],
    ['empty', ''],
  ])('is %s: a new sign-in takes its place', async ([, bytes], context) => {
    const scene = await setScene(context, 'expired')
    writeFileSync(join(scene.dir, TOKEN), bytes)
    const keeper = await scene.start()
    expect((await askStatus(keeper)).state).toBe('needs_sign_in')
    await signIn(keeper, scene.yoto)
    await expectSignedIn(keeper, scene)
    expect(scene.yoto.counts).toMatchObject({ refresh_ok: 0, refresh_refused: 0, revoked: 0 })
  })

  it('is cut: Yoto refuses it, once, and the whole one put back is good again', async (context) => {
    const scene = await setScene(context, 'none')
    const { dir, first, yoto } = scene
    const cut = first.refresh_token.slice(0, 20)
    writeFileSync(join(dir, TOKEN), cut)
    const keeper = await scene.start()
    await waitUntil(async () => (await askStatus(keeper)).state === 'needs_sign_in', { what: 'Yoto had refused' })
    expect(await askToken(keeper)).toMatchObject({ status: 409, body: { error: 'needs_sign_in' } })
    await refresh(keeper)
    await letTimePass(keeper, yoto)
    await expectStored(dir, cut)
    expect(scene.refreshes()).toHaveLength(1)
    place(dir, yoto, first, 'none')
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes()).toHaveLength(2)
  })

  it('is a symbolic link: it stays one through refresh, sign-out and sign-in', async (context) => {
    const scene = await setScene(context, 'expired', { leftover: false })
    const { dir, yoto } = scene
    const elsewhere = join(dirname(dir), 'elsewhere')
    mkdirSync(elsewhere)
    const real = join(elsewhere, 'token')
    renameSync(join(dir, TOKEN), real)
    symlinkSync(real, join(dir, TOKEN))
    const isLink = () => lstatSync(join(dir, TOKEN)).isSymbolicLink()

    const keeper = await scene.start()
    await expectSignedIn(keeper, scene)
    expect(isLink()).toBe(true)
    expect(readFileSync(real, 'utf8')).toBe(yoto.currentRefreshToken())
    expect(statSync(real).mode & 0o777).toBe(0o600)

    await signOut(keeper)
    expect(isLink()).toBe(true)
    expect(existsSync(real)).toBe(false)
    expect((await askToken(keeper)).body).toMatchObject({ error: 'signed_out' })

    await signIn(keeper, yoto)
    await expectSignedIn(keeper, scene)
    expect(isLink()).toBe(true)
    expect(readFileSync(real, 'utf8')).toBe(yoto.currentRefreshToken())
    expect(readdirSync(elsewhere)).toEqual(['token'])
  })
})

describe.concurrent('a record', () => {
  it.for<[string, string | Buffer]>([
    ['binary', randomBytes(512)],
    ['empty', ''],
    ['cut', '{"version":1,"fingerpr'],
    ['of another version', '{"version":2}'],
  ])('that is %s costs a refresh, and no sign-in', async ([, bytes], context) => {
    const scene = await setScene(context, 'valid')
    writeFileSync(join(scene.dir, RECORD), bytes)
    const keeper = await scene.start()
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes()).toHaveLength(1)
  })

  it.for<[string, (path: string) => void, (path: string) => void]>([
    ['is a directory', (path) => mkdirSync(path), (path) => rmSync(path, { recursive: true })],
    ['links to a directory', (path) => symlinkSync('.', path), unlinkSync],
  ])(
    'that %s: nobody is said to have signed out, and it goes on when that is mended',
    async ([, spoil, mend], context) => {
      const scene = await setScene(context, 'none')
      const path = join(scene.dir, RECORD)
      spoil(path)
      const keeper = await scene.start()
      await expectStorageTrouble(keeper, scene, /\.yoto_token_set\.json/)
      expect((await askStatus(keeper)).state).not.toBe('signed_out')
      expect(scene.refreshes()).toHaveLength(0)
      mend(path)
      await expectSignedIn(keeper, scene)
      expect(scene.refreshes()).toHaveLength(1)
    },
  )
})
