import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { chmod, chown, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { replaceable } from '../../storage/checks/replaceable'
import { durableFiles, removeLeftovers } from '../../storage/stores/durable-files'
import { isUnfinished } from '../../storage/stores/in-place'
import { canMount, mountFile, mountSmallDisk } from '../faults/disk'
import { storeConformance } from './store-conformance'

/** Files that cannot be replaced by others: which can be written all the same, what a crash leaves of them, and what is said. */

const KEY = '.yoto_refresh_token'
const NOBODY = 65_534
const RANDOM = '0123456789abcdef'

const isRoot = process.getuid?.() === 0
const works = (command: string, ...args: string[]) => spawnSync(command, args).status === 0
const attribute = (change: string, path: string) => void execFileSync('chattr', [change, path])

const canSetAttributes = (() => {
  const dir = mkdtempSync(join(tmpdir(), 'attributes-'))
  const can = works('chattr', '+i', dir)
  works('chattr', '-i', dir)
  rmSync(dir, { recursive: true })
  return can
})()
const why = (can: boolean, what: string) => (can ? '' : ` (${what} is not permitted here)`)

const canTrace = canMount && works('strace', '-f', 'true')

/** With `data`, which the store is in, and `host`, where what is mounted lies. */
async function newPlace(clean: (work: () => void) => void) {
  const folder = mkdtempSync(join(tmpdir(), 'irreplaceable-'))
  clean(() => rmSync(folder, { recursive: true }))
  await chmod(folder, 0o755)
  const [data, host] = [join(folder, 'data'), join(folder, 'host')]
  await mkdir(data)
  await mkdir(host)
  return { dir: data, host, path: join(data, KEY), inHost: join(host, 'token') }
}

type Place = Awaited<ReturnType<typeof newPlace>>
type Clean = (work: () => void) => void
/** Puts `old` where the key is, so that it cannot be replaced; returns who is to try. */
type Obstruct = (place: Place, clean: Clean) => Promise<number | undefined>

const mountedAlone: Obstruct = async ({ path, inHost }, clean) => {
  await writeFile(inHost, 'old', { mode: 0o600 })
  clean(mountFile(inHost, path))
  return undefined
}

const immutable =
  (flag: string): Obstruct =>
  async ({ path }, clean) => {
    await writeFile(path, 'old', { mode: 0o600 })
    attribute(`+${flag}`, path)
    clean(() => attribute(`-${flag}`, path))
    return undefined
  }

const inSticky =
  (mode: number): Obstruct =>
  async ({ dir, path }) => {
    await chmod(dir, 0o1777)
    await writeFile(path, 'old')
    await chmod(path, mode)
    return NOBODY
  }

/** Its names are root's to give. */
const inForeignFolder =
  (owner: number): Obstruct =>
  async ({ path }) => {
    await writeFile(path, 'old', { mode: 0o644 })
    await chown(path, owner, owner)
    return NOBODY
  }

const inImmutableFolder: Obstruct = async ({ dir, path }, clean) => {
  await writeFile(path, 'old', { mode: 0o600 })
  attribute('+i', dir)
  clean(() => attribute('-i', dir))
  return undefined
}

const inReadOnlyFolder: Obstruct = async ({ dir, path, inHost }, clean) => {
  const disk = mountSmallDisk(dir)
  clean(disk.unmount)
  await writeFile(inHost, 'old', { mode: 0o600 })
  clean(mountFile(inHost, path))
  disk.readOnly(true)
  return undefined
}

type Order = [what: 'write' | 'read' | 'remove' | 'keys' | 'check', ...args: unknown[]]

const moduleOf = (path: string) => JSON.stringify(new URL(`../../storage/${path}`, import.meta.url))

function scriptOf(dir: string, orders: Order[]): string {
  return `import { durableFiles } from ${moduleOf('stores/durable-files.ts')}
    import { replaceable } from ${moduleOf('checks/replaceable.ts')}
    const store = { ...durableFiles(${JSON.stringify(dir)}), check: () => replaceable(${JSON.stringify(dir)}, ['${KEY}']) }
    const results = []
    for (const [what, ...args] of ${JSON.stringify(orders)}) {
      results.push(await store[what](...args).catch(({ code, message, hint }) => ({ code, message, hint })) ?? null)
    }
    console.log(JSON.stringify(results))`
}

const NODE = [process.execPath, '--import', 'tsx', '--input-type=module', '--eval'] as const

/** In a process of its own, which may be another user's. Undefined is null there. */
async function ask(dir: string, user: number | undefined, orders: Order[]) {
  const [node, ...args] = [...NODE, scriptOf(dir, orders)]
  const { stdout } = await promisify(execFile)(node, args, { uid: user, gid: user })
  return JSON.parse(stdout)
}

const strace = (options: string[], script: string) => {
  const [node, ...args] = [...NODE, script]
  return promisify(execFile)('strace', ['-f', '-qq', ...options, node, ...args], { maxBuffer: 64 * 1024 * 1024 })
}

describe.skipIf(!canMount)('mounted alone', () => {
  storeConformance(
    'a file that is mounted alone',
    async () => {
      const cleaning: (() => void)[] = []
      const place = await newPlace((work) => cleaning.unshift(work))
      await mountedAlone(place, (work) => cleaning.unshift(work))
      await writeFile(place.path, '\v')
      return { store: durableFiles(place.dir), end: () => cleaning.forEach((work) => void work()) }
    },
    { partsSeen: true },
  )
})

const IN_PLACE: [name: string, can: boolean, Obstruct, mend: RegExp, beside?: RegExp][] = [
  [`is mounted alone${why(canMount, 'mounting')}`, canMount, mountedAlone, /^Mount the folder/],
  [
    `is mounted alone in a read-only folder${why(canMount, 'mounting')}`,
    canMount,
    inReadOnlyFolder,
    /^Mount the folder/,
    /nothing can be kept beside/,
  ],
  [`is somebody else's in a sticky folder${why(isRoot, 'chown')}`, isRoot, inSticky(0o666), /chown 65534 .*sticky/],
  [
    `is ours in somebody else's folder${why(isRoot, 'chown')}`,
    isRoot,
    inForeignFolder(NOBODY),
    /right to write/,
    /nothing can be kept beside/,
  ],
  [
    `is in an immutable folder${why(canSetAttributes, 'chattr')}`,
    canSetAttributes,
    inImmutableFolder,
    /chattr -i/,
    /nothing can be kept beside/,
  ],
]

describe('a file that', () => {
  for (const [name, can, obstruct, mend, beside = /until the next start/] of IN_PLACE) {
    it.skipIf(!can)(`${name} is written in place`, async (context) => {
      const place = await newPlace(context.onTestFinished)
      const user = await obstruct(place, context.onTestFinished)
      const { dir, path } = place
      const { ino, mode } = await stat(path)
      const results = await ask(dir, user, [
        ['check'],
        ['write', KEY, 'old', 'old'],
        ['write', KEY, 'a longer one', 'old'],
        ['write', KEY, 'short', 'old'],
        ['write', KEY, 'short', 'a longer one'],
        ['write', KEY, 'short', 'a longer one'],
        ['read', KEY],
      ])
      expect(results).toEqual([
        { ok: false, message: expect.stringMatching(beside), hint: expect.stringMatching(mend) },
        null,
        null,
        expect.objectContaining({ code: 'conflict' }),
        null,
        null,
        'short',
      ])
      expect(await readFile(path, 'utf8')).toBe('short')
      expect(await stat(path)).toMatchObject({ ino, mode })
      expect(await readdir(dir)).toEqual([KEY])
    })

    it.skipIf(!can)(`${name} is as if it were not there once it was removed, and can come back`, async (context) => {
      const place = await newPlace(context.onTestFinished)
      const user = await obstruct(place, context.onTestFinished)
      const { dir, path } = place
      const results = await ask(dir, user, [
        ['remove', KEY],
        ['read', KEY],
        ['keys'],
        ['remove', KEY],
        ['write', KEY, 'new', 'old'],
        ['write', KEY, 'new', null],
        ['write', KEY, 'newer', null],
        ['read', KEY],
        ['keys'],
        ['remove', KEY],
      ])
      const conflict = expect.objectContaining({ code: 'conflict' })
      expect(results).toEqual([null, null, [], null, conflict, null, conflict, 'new', [KEY], null])
      expect((await readFile(path, 'utf8')).trim()).toBe('')
      expect(await durableFiles(dir).read(KEY)).toBeNull()
      expect(await readdir(dir)).toEqual([KEY])
    })
  }

  const NEITHER: [name: string, can: boolean, Obstruct, mend: RegExp][] = [
    [
      `is immutable${why(canSetAttributes, 'chattr')}`,
      canSetAttributes,
      immutable('i'),
      /chattr -i .*\.yoto_refresh_token/,
    ],
    [`is append-only${why(canSetAttributes, 'chattr')}`, canSetAttributes, immutable('a'), /chattr -i -a /],
    [
      `is mounted read-only${why(canMount, 'mounting')}`,
      canMount,
      async ({ path, inHost }, clean) => {
        await writeFile(inHost, 'old')
        clean(mountFile(inHost, path, { readOnly: true }))
        return undefined
      },
      /^Mount the folder/,
    ],
    [`is somebody else's alone in a sticky folder${why(isRoot, 'chown')}`, isRoot, inSticky(0o644), /chown 65534 /],
    [`is in somebody else's folder, and theirs${why(isRoot, 'chown')}`, isRoot, inForeignFolder(0), /right to write/],
  ]
  for (const [name, can, obstruct, mend] of NEITHER) {
    it.skipIf(!can)(`${name} stays as it is, and the mend is said`, async (context) => {
      const place = await newPlace(context.onTestFinished)
      const user = await obstruct(place, context.onTestFinished)
      const { dir, path } = place
      const before = await stat(path)
      const [check, ...refused] = await ask(dir, user, [
        ['check'],
        ['write', KEY, 'old', 'old'],
        ['write', KEY, 'new'],
        ['remove', KEY],
      ])
      expect(check).toMatchObject({ ok: false, message: expect.stringMatching(/cannot be written either/) })
      expect(check.hint).toMatch(mend)
      for (const one of refused) expect(one).toMatchObject({ code: 'unavailable', hint: expect.stringMatching(mend) })
      const after = await stat(path)
      expect([after.ino, after.mtimeMs, after.size]).toEqual([before.ino, before.mtimeMs, before.size])
      expect(await readFile(path, 'utf8')).toBe('old')
      expect(await readdir(dir)).toEqual([KEY])
    })
  }

  it.skipIf(!canSetAttributes)('cannot be made, as the folder is immutable', async (context) => {
    const { dir } = await newPlace(context.onTestFinished)
    attribute('+i', dir)
    context.onTestFinished(() => attribute('-i', dir))
    const write = durableFiles(dir).write(KEY, 'new')
    await expect(write).rejects.toMatchObject({ code: 'unavailable', hint: expect.stringMatching(/chattr -i .*data/) })
  })

  it.skipIf(!canMount)('is hidden by a device is left alone', async (context) => {
    const { dir, path } = await newPlace(context.onTestFinished)
    context.onTestFinished(mountFile('/dev/null', path))
    const refused = { code: 'unavailable', hint: expect.stringMatching(/^Mount the folder/) }
    await expect(durableFiles(dir).write(KEY, 'new')).rejects.toMatchObject(refused)
    await expect(durableFiles(dir).remove(KEY)).rejects.toMatchObject(refused)
    expect(await readdir(dir)).toEqual([KEY])
  })

  it.skipIf(!canMount)('is mounted alone from a full disk holds what it held, to the byte', async (context) => {
    const { dir, host, path, inHost } = await newPlace(context.onTestFinished)
    const disk = mountSmallDisk(host)
    context.onTestFinished(disk.unmount)
    const old = 'old-'.repeat(1024)
    await writeFile(inHost, old)
    context.onTestFinished(mountFile(inHost, path))
    // Some of the new value finds room.
    await writeFile(join(host, 'room'), 'x'.repeat(4096))
    disk.fill()
    await rm(join(host, 'room'))
    const store = durableFiles(dir)
    const write = store.write(KEY, 'new-'.repeat(4096), old)
    await expect(write).rejects.toMatchObject({ code: 'unavailable', hint: expect.stringMatching(/disk is full/) })
    expect(await readFile(path, 'utf8')).toBe(old)
    expect(await readdir(dir)).toEqual([KEY])
    disk.free()
    await store.write(KEY, 'new-'.repeat(4096), old)
    expect(await store.read(KEY)).toBe('new-'.repeat(4096))
  })

  it('can be replaced is not spoken of', async (context) => {
    const { dir, host, path, inHost } = await newPlace(context.onTestFinished)
    expect(await replaceable(dir, [KEY, 'none'])).toBeUndefined()
    await writeFile(inHost, 'token')
    await symlink(inHost, path)
    expect(await replaceable(dir, [KEY])).toBeUndefined()
    await chmod(host, 0o1777)
    if (isRoot) for (const one of [host, inHost]) await chown(one, NOBODY, NOBODY)
    expect(await replaceable(dir, [KEY])).toBeUndefined()
  })
})

describe('a crash over a write in place', () => {
  const skipped = why(canTrace, 'mounting or strace')

  it.skipIf(!canTrace)(`finds each step flushed before the next${skipped}`, async (context) => {
    const place = await newPlace(context.onTestFinished)
    await mountedAlone(place, context.onTestFinished)
    const calls = 'trace=openat,fsync,pwrite64,ftruncate,unlink,rename'
    const { stderr } = await strace(
      ['-y', '-e', calls],
      scriptOf(place.dir, [
        ['write', KEY, 'longer', 'old'],
        ['write', KEY, 'new', 'longer'],
      ]),
    )
    const steps = stderr
      .split('\n')
      .filter((line) => line.includes(place.dir) && !/RDONLY|O_DIRECTORY/.test(line))
      .map((line) =>
        line
          .replace(/^\[pid +\d+\] /, '')
          .replace(/<unfinished.*| = .*/, '')
          .trim(),
      )
      .map((line) =>
        line
          .replaceAll(place.dir, '')
          .replace(/[0-9a-f]{16}/g, 'RANDOM')
          .replace(/AT_FDCWD<.*?>, |\d+(?=<)/g, ''),
      )
    const token = `</${KEY}>`
    const journal = `/${KEY}.in_place.RANDOM.tmp`
    const begun = [
      `openat("/${KEY}.RANDOM.tmp", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600)`,
      `fsync(</${KEY}.RANDOM.tmp>)`,
      `rename("/${KEY}.RANDOM.tmp", "/${KEY}")`,
      `unlink("/${KEY}.RANDOM.tmp")`,
      `openat("/${KEY}", O_RDWR|O_CLOEXEC)`,
      `openat("${journal}", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600)`,
      `fsync(<${journal}>)`,
      'fsync(<>)',
      `openat("/${KEY}", O_RDWR|O_CLOEXEC)`,
    ]
    expect(steps).toEqual([
      ...begun,
      `pwrite64(${token}, "\\n\\n\\n", 3, 3)`,
      `fsync(${token})`,
      `pwrite64(${token}, "longer", 6, 0)`,
      `fsync(${token})`,
      `ftruncate(${token}, 6)`,
      `fsync(${token})`,
      `unlink("${journal}")`,
      ...begun,
      `pwrite64(${token}, "new\\n\\n\\n", 6, 0)`,
      `fsync(${token})`,
      `ftruncate(${token}, 3)`,
      `fsync(${token})`,
      `unlink("${journal}")`,
    ])
  })

  /** strace counts each kind of call by itself. */
  const CALLS = ['pwrite64:1', 'fsync:1', 'pwrite64:2', 'fsync:2', 'ftruncate:1', 'fsync:3']
  it.skipIf(!canTrace).for<[string, old: string, value: string, calls: string[]]>([
    ['longer', 'old', 'a longer one', CALLS],
    ['shorter', 'an older one', 'new', CALLS.filter((call) => call !== 'pwrite64:2' && call !== 'fsync:3')],
  ])(`loses nothing, wherever it comes: the new one is %s${skipped}`, async ([, old, value, calls], context) => {
    const place = await newPlace(context.onTestFinished)
    await mountedAlone(place, context.onTestFinished)
    const { dir, path } = place
    for (const call of calls) {
      await writeFile(path, old)
      const [name, when] = call.split(':')
      const kill = ['-P', path, '-e', `inject=${name}:signal=KILL:when=${when}`]
      await expect(strace(kill, scriptOf(dir, [['write', KEY, value, old]])), call).rejects.toThrow()
      expect([old, value]).toContain((await readFile(path, 'utf8')).trim())
      expect(await readdir(dir)).toHaveLength(2)
      await removeLeftovers(dir, [KEY])
      expect(await readFile(path, 'utf8')).toBe(value)
      expect(await readdir(dir)).toEqual([KEY])
    }
  })

  const JOURNAL = `${KEY}.in_place.${RANDOM}.tmp`
  const [before, after] = ['old-'.repeat(300), 'newer-'.repeat(300)]

  it.skipIf(!canMount).for<[found: string, string, then: string]>([
    ['what it held', before, after],
    ['what it was to hold', after, after],
    ['the beginning of the new, and padding', `${after.slice(0, 512)}${before.slice(512)}\n\n\n\n`, after],
    ['the middle of the new', before.slice(0, 512) + after.slice(512, 1024) + before.slice(1024), after],
    ['the whole of the new, and padding', `${after.slice(0, 1100)}\n\n\n`, `${after.slice(0, 1100)}\n\n\n`],
    ['what somebody put there', 'put-'.repeat(300), 'put-'.repeat(300)],
    ['what somebody cut', before.slice(0, 100), before.slice(0, 100)],
    ['nothing', '', ''],
    ['the mark of a removal', '\v', '\v'],
  ])('is made good where there is %s', async ([, found, then], context) => {
    const place = await newPlace(context.onTestFinished)
    await mountedAlone(place, context.onTestFinished)
    await writeFile(place.path, found)
    await writeFile(join(place.dir, JOURNAL), JSON.stringify({ before, after }))
    await removeLeftovers(place.dir, [KEY])
    expect(await readFile(place.path, 'utf8')).toBe(then)
    expect(await readdir(place.dir)).toEqual([KEY])
  })

  it.for(['', '{"before":"old","aft', '{"before":1,"after":2}', 'null'])(
    'leaves a journal that is none: %s',
    async (text, context) => {
      const { dir, path } = await newPlace(context.onTestFinished)
      await writeFile(path, 'old')
      await writeFile(join(dir, JOURNAL), text)
      await removeLeftovers(dir, [KEY])
      expect(await readFile(path, 'utf8')).toBe('old')
      expect(await readdir(dir)).toEqual([KEY])
    },
  )

  it.skipIf(!canSetAttributes)('is made good later where it cannot be now', async (context) => {
    const { dir, path } = await newPlace(context.onTestFinished)
    await writeFile(path, 'old')
    await writeFile(join(dir, JOURNAL), JSON.stringify({ before: 'old', after: 'new' }))
    attribute('+i', path)
    await removeLeftovers(dir, [KEY]).finally(() => attribute('-i', path))
    expect((await readdir(dir)).sort()).toEqual([KEY, JOURNAL])
    await removeLeftovers(dir, [KEY])
    expect(await readFile(path, 'utf8')).toBe('new')
    expect(await readdir(dir)).toEqual([KEY])
  })

  it('is known by its bytes, which are of old, new and padding', () => {
    const journal = { before: 'abc', after: 'xyz' }
    const found = ['abc', 'xbc', 'ayz', 'a\nz', 'xyz', 'xyw', 'ab', 'abcd', '']
    expect(found.filter((text) => isUnfinished(text, journal))).toEqual(['abc', 'xbc', 'ayz', 'a\nz'])
  })
})

describe.skipIf(!canMount)('a link to a file that is mounted alone', () => {
  it('stays one, and the journal lies beside the link', async (context) => {
    const place = await newPlace(context.onTestFinished)
    const { dir, host, path } = place
    const real = join(host, 'real')
    await writeFile(join(dir, 'source'), 'old')
    context.onTestFinished(mountFile(join(dir, 'source'), real))
    await symlink(real, path)
    const store = durableFiles(dir)
    await store.write(KEY, 'new', 'old')
    expect(await readFile(real, 'utf8')).toBe('new')
    expect(await readdir(host)).toEqual(['real'])
    if (canTrace) {
      const kill = ['-e', 'inject=pwrite64:signal=KILL']
      await expect(strace(kill, scriptOf(dir, [['write', KEY, 'newer', 'new']]))).rejects.toThrow()
      await removeLeftovers(dir, [KEY])
      expect(await readFile(real, 'utf8')).toBe('newer')
    }
    await store.remove(KEY)
    expect(await store.read(KEY)).toBeNull()
    expect((await readdir(dir)).sort()).toEqual([KEY, 'source'])
    expect(await readdir(host)).toEqual(['real'])
  })
})
