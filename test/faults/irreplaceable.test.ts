import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Keeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'
import { canMount, mountFile } from './disk'
import {
  askStatus,
  askToken,
  duringRefresh,
  expectSignedIn,
  expectWorkingToken,
  letTimePass,
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

/** The service where the file of the token, or of its record, cannot be replaced by another. */

const isRoot = process.getuid?.() === 0
const NOBODY = 65_534
const attribute = (change: string, path: string) => spawnSync('chattr', [change, path]).status === 0

type Context = Parameters<typeof setScene>[0]

/** As with `docker run -v ./token:/data/.yoto_refresh_token`. */
async function setSceneMounted(context: Context, access: 'valid' | 'expired', names: string[]) {
  const scene = await setScene(context, access, { leftover: false })
  for (const name of names) {
    const host = join(dirname(scene.dir), `host-${name}`)
    renameSync(join(scene.dir, name), host)
    context.onTestFinished(mountFile(host, join(scene.dir, name)))
  }
  return scene
}

async function examine(keeper: Keeper) {
  const { body } = await keeper.json<{ checks: { name: string; ok: boolean; message: string; hint?: string }[] }>(
    '/api/doctor',
  )
  return body.checks.find(({ name }) => name === 'replaceable')
}

/** The service is killed at its next write into the token's file, of which not a byte is written. */
async function killAtNextWrite(keeper: Keeper, path: string, begin: () => unknown): Promise<void> {
  const options = ['-f', '-P', path, '-e', 'trace=pwrite64', '-e', 'inject=pwrite64:signal=KILL']
  const tracer = spawn('strace', [...options, '-p', String(keeper.pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  tracer.stderr.setEncoding('utf8').on('data', (text) => (said += text))
  await waitUntil(() => said.includes('attached'), { what: 'the service was being traced' })
  begin()
  await keeper.exited
}

describe.skipIf(!canMount)('mounted alone', { concurrent: true }, () => {
  it.for<[string, string[]]>([
    ['the token', [TOKEN]],
    ['the record', [RECORD]],
    ['both', [TOKEN, RECORD]],
  ])('%s: refreshes, and survives kill -9 and a restart', async ([, names], context) => {
    const scene = await setSceneMounted(context, 'expired', names)
    const keeper = await scene.start()
    await expectSignedIn(keeper, scene)
    expect(await examine(keeper)).toMatchObject({ ok: false, hint: expect.stringMatching(/^Mount the folder/) })
    await keeper.kill()
    const again = await scene.start()
    await expectSignedIn(again, scene)
    expect(scene.refreshes()).toHaveLength(1)
    expect(scene.yoto.counts).toMatchObject({ refresh_ok: 1, refresh_refused: 0, revoked: 0 })
    for (const name of names) expect(statSync(join(dirname(scene.dir), `host-${name}`)).ino).toBe(inode(scene, name))
  })

  it('the token: a sign-out lasts, and somebody can sign in again', async (context) => {
    const scene = await setSceneMounted(context, 'valid', [TOKEN])
    const { yoto, dir, first } = scene
    const keeper = await scene.start()
    expect(await signOut(keeper)).toMatchObject({ status: 200, body: { success: true } })
    expect(yoto.isRevoked(first.refresh_token)).toBe(true)
    const look = async (one: Keeper) => {
      await letTimePass(one, yoto)
      expect(await askStatus(one)).toMatchObject({ state: 'signed_out', authenticated: false })
      expect((await askToken(one)).body).toMatchObject({ error: 'signed_out' })
      expect(storedToken(dir).trim()).toBe('')
      expect(storedRecord(dir)).not.toHaveProperty('access_token')
    }
    await look(keeper)
    await keeper.kill()
    const again = await scene.start()
    await look(again)
    await signIn(again, yoto)
    await expectSignedIn(again, scene)
    await again.stop() // a kill could leave a login's outcome half written beside it
    await expectSignedIn(await scene.start(), scene)
    expect(scene.refreshes()).toHaveLength(0)
  })

  it('the token, emptied by hand: nobody is said to have signed out', async (context) => {
    const scene = await setSceneMounted(context, 'valid', [TOKEN])
    const keeper = await scene.start()
    writeFileSync(join(scene.dir, TOKEN), '')
    await waitUntil(async () => (await askStatus(keeper)).state === 'needs_sign_in', { what: 'that was noticed' })
    await signIn(keeper, scene.yoto)
    await expectSignedIn(keeper, scene)
  })

  it.skipIf(spawnSync('strace', ['-f', 'true']).status !== 0)(
    'the token: killed before what Yoto issued was written, it is written at the next start',
    async (context) => {
      const scene = await setSceneMounted(context, 'valid', [TOKEN])
      const { yoto, dir, first } = scene
      const keeper = await scene.start()
      const path = join(dir, TOKEN)
      const held = yoto.hold({ grant_type: 'refresh_token' })
      const answer = refresh(keeper).catch(() => {})
      await held.reached
      await killAtNextWrite(keeper, path, held.release)
      await answer
      expect(readFileSync(path, 'utf8')).toBe(`${first.refresh_token}\n`)
      expect(yoto.currentRefreshToken()).not.toBe(first.refresh_token)
      await expectSignedIn(await scene.start(), scene)
      expect(yoto.counts).toMatchObject({ refresh_refused: 0, revoked: 0 })
    },
  )
})

function inode({ dir }: Scene, name: string): number {
  return statSync(join(dir, name)).ino
}

describe.skipIf(!isRoot)('a token that can be neither replaced nor written', { concurrent: true }, () => {
  const immutable = {
    begin: (path: string) => attribute('+i', path),
    end: (path: string) => attribute('-i', path),
    mend: /chattr -i/,
    uid: undefined,
  }
  const foreign = {
    begin(path: string) {
      for (const folder of [dirname(path), dirname(dirname(path))]) chmodSync(folder, 0o1777)
      chownSync(join(dirname(path), RECORD), NOBODY, NOBODY)
      chmodSync(path, 0o644)
      return true
    },
    end: (path: string) => chownSync(path, NOBODY, NOBODY),
    mend: /chown 65534/,
    uid: NOBODY,
  }

  it.for([
    ['immutable', immutable],
    ["somebody else's in a sticky folder", foreign],
  ] as const)('%s: nothing is sent, and it goes on when that is mended', async ([, fault], context) => {
    const scene = await setScene(context, 'expired', { leftover: false })
    const path = join(scene.dir, TOKEN)
    if (!fault.begin(path)) return context.skip('chattr is not permitted here')
    context.onTestFinished(() => void (fault === immutable && attribute('-i', path)))
    const keeper = await scene.start({}, { uid: fault.uid })
    await waitUntil(async () => (await askToken(keeper)).body.error === 'storage_unavailable', {
      what: 'that was said',
    })
    const { body } = await askToken(keeper)
    expect(`${body.message} ${body.hint}`).toMatch(fault.mend)
    expect((await examine(keeper))?.hint).toMatch(fault.mend)
    expect((await refresh(keeper)).body).toMatchObject({ error: 'storage_unavailable' })
    expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in', authenticated: false })
    expect(storedToken(scene.dir)).toBe(`${scene.first.refresh_token}\n`)
    expect(scene.refreshes()).toHaveLength(0)
    fault.end(path)
    chmodSync(path, 0o600)
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes()).toHaveLength(1)
  })

  it('immutable only while Yoto answers: what it issued is held, and saved when that is mended', async (context) => {
    const scene = await setScene(context, 'valid', { leftover: false })
    const path = join(scene.dir, TOKEN)
    if (!attribute('+i', path)) return context.skip('chattr is not permitted here')
    attribute('-i', path)
    const keeper = await scene.start()
    context.onTestFinished(() => void attribute('-i', path))
    const answer = await duringRefresh(keeper, scene, () => attribute('+i', path))
    expect(answer.body).toMatchObject({ error: 'storage_unavailable', hint: expect.stringMatching(/chattr -i/) })
    await expectWorkingToken(keeper, scene.yoto)
    expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in', problem: 'not_saved' })
    attribute('-i', path)
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes()).toHaveLength(1)
  })
})
