import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { type HeldLease, isStorageError, type TokenStore } from '../../storage'
import { openFiles } from '../../storage/files'
import { redisStore } from '../../storage/stores/redis'

// Whatever happens beneath, a caller hears of it as a StorageError.

/** Which call of the file system fails, counted from 1; 0: none. And which one that was. */
const disk = vi.hoisted(() => ({ failAt: 0, calls: 0, failed: '' }))

vi.mock('node:fs', async (original) => failing(await original<typeof import('node:fs')>()))
vi.mock('node:fs/promises', async (original) => failing(await original<typeof import('node:fs/promises')>()))

/** Its functions, those that are awaited and the others, of which one says EIO. */
const { failing } = vi.hoisted(() => {
  type Work = (...given: never[]) => unknown
  const toCall = (work: Work, self: unknown, name: string) =>
    function call(...given: unknown[]): unknown {
      const isOurs = given.some((one) => typeof one === 'string' && one.includes('raw-errors-'))
      if ((isOurs || name.startsWith('handle.')) && ++disk.calls === disk.failAt) {
        disk.failed = name
        const error = Object.assign(new Error(`EIO: i/o error, ${name}`), { code: 'EIO' })
        if (name.endsWith('Sync')) throw error
        return Promise.reject(error)
      }
      const result = work.apply(self, given as never[])
      return name === 'open' && isOurs ? (result as Promise<FileHandle>).then(failingHandle) : result
    }
  /** A file that cannot be closed is closed all the same. */
  const failingHandle = (handle: FileHandle) => ({
    writeFile: toCall(handle.writeFile, handle, 'handle.writeFile'),
    sync: toCall(handle.sync, handle, 'handle.sync'),
    close: () => handle.close().then(toCall(async () => {}, undefined, 'handle.close')),
  })
  function failing(module: object): object {
    const entries = Object.entries(module).map(([name, value]) => {
      const isWatched = typeof value === 'function' && /^[a-z]/.test(name)
      return [name, isWatched ? toCall(value, module, name) : value]
    })
    return Object.fromEntries(entries)
  }
  return { failing }
})

vi.useFakeTimers({ toFake: ['setInterval'] }) // a holder's beats are calls as well

const KEY = '.yoto_refresh_token'

interface Scene {
  dir: string
  store: TokenStore
  held: HeldLease
  takeLease(): Promise<unknown>
  removeLeftovers(): Promise<void>
}

/** A folder with a value, a link, a leftover and a lease. */
async function open(): Promise<Scene> {
  const dir = mkdtempSync(join(tmpdir(), 'raw-errors-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const { store, lease, removeLeftovers } = openFiles({ dir, needsVolume: false, leasedKeys: [KEY] })
  await store.write(KEY, 'old')
  writeFileSync(join(dir, `${KEY}.0123456789abcdef.tmp`), 'left over')
  const held = await lease('token').acquire()
  if (!held) throw new Error('the lease was not free')
  onTestFinished(() => held.release())
  const takeLease = async () => (await lease('journal').tryAcquire())?.release()
  return { dir, store, held, takeLease, removeLeftovers }
}

it.each<[string, (scene: Scene) => Promise<unknown>, mayFail?: string[]]>([
  ['read', ({ store }) => store.read(KEY)],
  ['write', ({ store }) => store.write(KEY, 'new')],
  ['write only if', ({ store }) => store.write(KEY, 'new', 'old')],
  ['write only if nothing is there', ({ store }) => store.write('.yoto_other', 'new', null)],
  ['remove', ({ store }) => store.remove(KEY)],
  // A key whose value cannot be read is listed all the same.
  ['list', ({ store }) => store.keys(), ['stat', 'stat', 'readFile', 'stat']],
  ['take the lease', ({ takeLease }) => takeLease(), ['lutimes']],
  ['check the lease', ({ held }) => held.check()],
  ['give the lease back', ({ held }) => held.release(), ['lutimes']],
  ['remove leftovers', ({ removeLeftovers }) => removeLeftovers(), ['unlink']],
])('%s: whichever call the disk answers with EIO', async (_, work, mayFail = []) => {
  const unheard: string[] = []
  for (let failAt = 1; ; failAt++) {
    const scene = await open()
    Object.assign(disk, { failAt, calls: 0, failed: '' })
    const error = await work(scene).then(
      () => undefined,
      (error) => error,
    )
    const { failed } = disk
    disk.failAt = 0
    if (!failed) break
    if (!error) unheard.push(failed)
    else {
      expect(error, failed).toMatchObject({
        name: 'StorageError',
        code: 'unavailable',
        message: expect.stringMatching(/^cannot .* EIO$/),
        hint: expect.any(String),
      })
    }
  }
  expect(unheard).toEqual(mayFail)
})

it('whichever call a folder that has become a file answers with ENOTDIR', async () => {
  const { dir, store, held, takeLease, removeLeftovers } = await open()
  rmSync(dir, { recursive: true })
  writeFileSync(dir, '')
  const works = {
    ...{ read: store.read(KEY), write: store.write(KEY, 'new'), remove: store.remove(KEY), list: store.keys() },
    ...{ take: takeLease(), check: held.check(), clean: removeLeftovers() },
  }
  for (const [what, work] of Object.entries(works)) {
    const said = { name: 'StorageError', code: 'unavailable', hint: 'DATA_DIR must name a folder.' }
    await expect(work, what).rejects.toMatchObject(said)
  }
})

it('whatever a Redis answers that it never does', async () => {
  for (const answer of [undefined, null, 0, 5, true, 'text', '', {}, [], ['0'], [0, null], [[], []]]) {
    const store = redisStore(async () => answer, 'test:')
    const asked = { read: store.read(KEY), write: store.write(KEY, 'x', null), keys: store.keys() }
    for (const [what, ask] of Object.entries(asked)) {
      const found = await ask.catch((error) => {
        if (isStorageError(error, 'unavailable') || isStorageError(error, 'conflict')) return
        throw new Error(`${what}, ${JSON.stringify(answer)}: ${error}`)
      })
      if (what === 'read') expect(typeof (found ?? '')).toBe('string')
    }
  }
})
