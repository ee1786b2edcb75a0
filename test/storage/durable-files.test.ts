import { execFile, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { StorageError, type TokenStore } from '../../storage'
import { durableFiles, removeLeftovers } from '../../storage/stores/durable-files'
import { storeConformance } from './store-conformance'

const KEY = '.yoto_refresh_token'

const newFolder = () => mkdtemp(join(tmpdir(), 'durable-files-'))

storeConformance('durable files', async () => {
  const dir = await newFolder()
  return { store: durableFiles(dir), end: () => rm(dir, { recursive: true }) }
})

describe('durable files', () => {
  let dir: string
  let store: TokenStore
  beforeEach(async () => {
    dir = await newFolder()
    store = durableFiles(dir)
  })
  afterEach(() => rm(dir, { recursive: true }))

  const modeOf = async (path: string) => ((await stat(path)).mode & 0o7777).toString(8)

  it('is the file and nothing else', async () => {
    await store.write(KEY, 'token')
    expect(await readdir(dir)).toEqual([KEY])
    expect(await readFile(join(dir, KEY), 'utf8')).toBe('token')
  })

  it('is for the owner only, whatever the umask is and whatever the mode was', async () => {
    const before = process.umask(0)
    try {
      await store.write(KEY, 'token')
      expect(await modeOf(join(dir, KEY))).toBe('600')
      await chmod(join(dir, KEY), 0o666)
      await store.write(KEY, 'new')
      expect(await modeOf(join(dir, KEY))).toBe('600')
    } finally {
      process.umask(before)
    }
  })

  it('creates the temporary file 0600, flushes it, renames it, flushes the folder; in this order', async () => {
    const { steps, restore } = await recordSteps()
    const before = process.umask(0)
    try {
      await store.write(KEY, 'token')
    } finally {
      process.umask(before)
      restore()
    }
    expect(steps.map((step) => step.replaceAll(dir, '').replace(/[0-9a-f]{16}/g, 'RANDOM'))).toEqual([
      `write /${KEY}.RANDOM.tmp 600`,
      `sync /${KEY}.RANDOM.tmp 600`,
      `rename /${KEY}.RANDOM.tmp /${KEY}`,
      'sync  700',
    ])
  })

  const tracing = spawnSync('strace', ['-f', 'true']).status === 0
  it.skipIf(!tracing)(`does so by the kernel's word${tracing ? '' : ' (strace cannot be used here)'}`, async () => {
    const script = `import { durableFiles } from ${JSON.stringify(new URL('../../storage/stores/durable-files.ts', import.meta.url))}
      process.umask(0)
      await durableFiles(${JSON.stringify(dir)}).write('${KEY}', 'token')`
    const calls = 'trace=openat,open,creat,fsync,fdatasync,rename,renameat,renameat2,chmod,fchmod,fchmodat'
    const node = [process.execPath, '--import', 'tsx', '--input-type=module', '--eval', script]
    const { stderr } = await promisify(execFile)('strace', ['-f', '-y', '-qq', '-e', calls, ...node], {
      maxBuffer: 64 * 1024 * 1024,
    })
    const seen = stderr.split('\n').filter((line) => line.includes(dir) && !line.includes('execve'))
    const steps = seen.map((line) =>
      line
        .replace(/^\[pid +\d+\] /, '')
        .replaceAll(dir, '')
        .replace(/[0-9a-f]{16}/g, 'RANDOM')
        .replace(/<unfinished.*| = .*/, '')
        .replace(/AT_FDCWD<.*?>, /, '')
        .replace(/\d+</g, '<')
        .trim(),
    )
    expect(steps.filter((step) => !step.includes('RDONLY'))).toEqual([
      `openat("/${KEY}.RANDOM.tmp", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600)`,
      `fsync(</${KEY}.RANDOM.tmp>)`,
      `rename("/${KEY}.RANDOM.tmp", "/${KEY}")`,
      'fsync(<>)',
    ])
  })

  it('writes through a symbolic link, which stays one', async () => {
    const elsewhere = await newFolder()
    try {
      await writeFile(join(elsewhere, 'token'), 'old')
      await symlink(join(elsewhere, 'token'), join(dir, KEY))
      await store.write(KEY, 'new', 'old')
      expect(await readlink(join(dir, KEY))).toBe(join(elsewhere, 'token'))
      expect(await readFile(join(elsewhere, 'token'), 'utf8')).toBe('new')
      expect(await store.read(KEY)).toBe('new')
      expect(await readdir(elsewhere)).toEqual(['token'])
      await store.remove(KEY)
      expect(await store.read(KEY)).toBeNull()
      expect((await lstat(join(dir, KEY))).isSymbolicLink()).toBe(true)
    } finally {
      await rm(elsewhere, { recursive: true })
    }
  })

  it.each([undefined, null])('writes where a dangling link points to (only if %s)', async (onlyIf) => {
    await symlink('real', join(dir, '.yoto_link'))
    await symlink('.yoto_link', join(dir, KEY))
    expect(await store.read(KEY)).toBeNull()
    await store.write(KEY, 'token', onlyIf)
    expect(await readlink(join(dir, KEY))).toBe('.yoto_link')
    expect(await readFile(join(dir, 'real'), 'utf8')).toBe('token')
    expect((await readdir(dir)).sort()).toEqual(['.yoto_link', KEY, 'real'])
  })

  it('leaves nothing behind when a write fails', async () => {
    await mkdir(join(dir, KEY, 'full'), { recursive: true })
    const write = store.write(KEY, 'token')
    await expect(write).rejects.toMatchObject({ name: 'StorageError', code: 'unavailable', hint: expect.any(String) })
    await expect(store.read(KEY)).rejects.toMatchObject({ code: 'unusable' })
    expect(await readdir(dir)).toEqual([KEY])

    await store.write('.yoto_other', 'value')
    await expect(store.write('.yoto_other', 'new', 'old')).rejects.toThrow(StorageError)
    expect((await readdir(dir)).sort()).toEqual(['.yoto_other', KEY])
  })

  it('tells a missing value from a missing folder', async () => {
    expect(await store.read(KEY)).toBeNull()
    await rm(dir, { recursive: true })
    try {
      await expect(store.read(KEY)).rejects.toMatchObject({ code: 'unavailable' })
      await expect(store.write(KEY, 'token')).rejects.toMatchObject({ code: 'unavailable' })
      await expect(store.keys()).rejects.toMatchObject({ code: 'unavailable' })
    } finally {
      await mkdir(dir)
    }
  })

  it('does not leave the folder, whatever a key says', async () => {
    for (const key of ['../up', '/etc/passwd', 'a/b', '', 'a:b', 'a\0']) {
      await expect(store.write(key, 'x'), key).rejects.toThrow()
    }
    expect(await readdir(dir)).toEqual([])
  })

  it('removes what a crash left behind, and nothing else', async () => {
    const random = '0123456789abcdef'
    const gone = [
      `.yoto_refresh_token.${random}.tmp`,
      `.yoto_token_set.json.${random}.tmp`,
      `.yoto_journal.json.${random}.tmp`,
    ]
    const kept = [
      '.yoto_refresh_token',
      '.yoto_token_set.json',
      // Somebody may be writing it now.
      `.yoto_login_1.json.${random}.tmp`,
      // Not ours.
      '.yoto_refresh_token.tmp',
      `.yoto_refresh_token.${random}`,
      `refresh_token.${random}.tmp`,
      'notes.tmp',
    ]
    for (const name of [...gone, ...kept]) await writeFile(join(dir, name), name)
    const longAgo = Date.now() / 1000 - 90
    await utimes(join(dir, `.yoto_journal.json.${random}.tmp`), longAgo, longAgo)
    await utimes(join(dir, 'notes.tmp'), longAgo, longAgo)
    await removeLeftovers(dir, ['.yoto_refresh_token', '.yoto_token_set.json'])
    expect((await readdir(dir)).sort()).toEqual(kept.sort())
  })
})

/** Watches this process: each file is asked for its path and mode at the moment at which it is written and flushed. */
async function recordSteps() {
  const steps: string[] = []
  const handle = await open(tmpdir())
  const prototype = Object.getPrototypeOf(handle)
  await handle.close()
  const note = (what: string, fd: number) => {
    const mode = (fs.fstatSync(fd).mode & 0o7777).toString(8)
    steps.push(`${what} ${fs.readlinkSync(`/proc/self/fd/${fd}`)} ${mode}`)
  }
  const { writeFile, sync } = prototype
  const { renameSync } = fs
  vi.spyOn(prototype, 'writeFile').mockImplementation(function (this: { fd: number }, ...args: unknown[]) {
    note('write', this.fd)
    return writeFile.apply(this, args)
  })
  vi.spyOn(prototype, 'sync').mockImplementation(async function (this: { fd: number }) {
    await sync.apply(this)
    note('sync', this.fd)
  })
  vi.spyOn(fs, 'renameSync').mockImplementation((from, to) => {
    renameSync(from, to)
    steps.push(`rename ${from} ${to}`)
  })
  syncBuiltinESMExports()
  const restore = () => {
    vi.restoreAllMocks()
    syncBuiltinESMExports()
  }
  return { steps, restore }
}
