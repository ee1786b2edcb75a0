import { execFileSync } from 'node:child_process'
import fs, { constants } from 'node:fs'
import fsp from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canMount, mountSmallDisk, type SmallDisk } from '../faults/disk'
import { type Caller, immediateCaller } from './caller'
import { createDisk, type Disk, type Guard } from './disk'
import { createRandom } from './random'

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW, O_DIRECTORY } = constants
const VOLUME = '/data'
/** Where both play: in a folder whose parent is nobody else's either. */
const DIR = `${VOLUME}/home`
const RUNS = Number(process.env.RUNS ?? 300)

/** One of the two file systems; both see the same calls. */
interface Side {
  dir: string
  promises: typeof fsp
  sync: typeof fs
}

const ofNode = (dir: string): Side => ({ dir, promises: fsp, sync: fs })

function simulated(disk: Disk, caller: Caller = immediateCaller()): Side {
  const promises = disk.promises(caller) as unknown as typeof fsp
  return { dir: DIR, promises, sync: disk.sync(caller) as unknown as typeof fs }
}

// Random operations

const NAMES = ['a', 'b', 'c', 'd', 'd/a', 'd/b', 'a/x', 'c/a', '..', 'd/../a', '.', 'e/e']
const TARGETS = ['a', 'b', 'd', 'missing', '../b', `${DIR}/a`, 'c', 'x'.repeat(80), '']
const FLAGS = [
  ...['r', 'r+', 'w', 'wx', 'a', 'w+', 'ax'],
  O_RDONLY,
  O_RDONLY | O_DIRECTORY,
  O_RDONLY | O_NOFOLLOW,
  O_WRONLY,
  O_RDWR | O_NOFOLLOW,
  O_WRONLY | O_TRUNC,
  O_WRONLY | O_APPEND,
  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
  O_WRONLY | O_CREAT | O_NOFOLLOW,
]

const name = fc.constantFrom(...NAMES)
const flags = fc.constantFrom(...FLAGS)
const text = fc.constantFrom('', 'one', 'ŷöţø 🎧', 'x'.repeat(5000), 'longer than one')
const slot = fc.nat({ max: 3 })
const size = fc.constantFrom(0, 2, 4096, 6000)
const time = fc.constantFrom(0, 1, 1_700_000_000)
const one = <K extends string, A extends unknown[]>(what: K, ...args: { [I in keyof A]: fc.Arbitrary<A[I]> }) =>
  fc.tuple(fc.constant(what), ...args)

const CALLS = [
  one('open', slot, name, flags),
  one('read', slot),
  one('writeFile', slot, text),
  one('write', slot, text, size),
  one('truncate', slot, size),
  one('sync', slot),
  one('stat handle', slot),
  one('chmod handle', slot),
  one('close', slot),
  ...(['lstat', 'stat', 'readdir', 'readFile', 'readlink', 'unlink', 'realpath', 'access', 'rmdir'] as const).map(
    (what) => one(what, name),
  ),
  one('mkdir', name, fc.constant(false)),
  // Over dangling links Node's two ways differ from each other.
  one('mkdir', fc.constantFrom('e/e', 'e/f/g'), fc.constant(true)),
  one('writeFile path', name, text, flags),
  one('symlink', fc.constantFrom(...TARGETS), name),
  one('rename', name, name),
  one('link', name, name),
  one('lutimes', name, time),
  one('utimes', name, time),
  one('chmod', name),
]
type Call = (typeof CALLS)[number] extends fc.Arbitrary<infer T> ? T : never

/** How calls are made on one side; what they return or throw, without what need not be the same. */
function player({ dir, promises, sync }: Side, via: 'promises' | 'sync') {
  const handles: (fsp.FileHandle | undefined)[] = []
  const descriptors: (number | undefined)[] = []
  const pathOf = (relative: string) => `${dir}/${relative}`
  const shown = (found: fs.Stats) => ({
    type: found.isFile() ? 'file' : found.isDirectory() ? 'folder' : found.isSymbolicLink() ? 'link' : 'other',
    mode: found.mode & 0o7777,
    ...(found.isDirectory() ? {} : { links: found.nlink }),
    ...(found.isFile() ? { size: found.size } : {}), // a link's depends on where it is
  })
  const timeOf = (found: fs.Stats) => Math.round(found.mtimeMs)

  async function byPromises([what, ...args]: Call): Promise<unknown> {
    const [first, second, third] = args as [never, never, never]
    const handle = () => handles[first] ?? Promise.reject(new Error('nothing is open'))
    switch (what) {
      case 'open':
        await handles[first]?.close()
        handles[first] = undefined
        handles[first] = await promises.open(pathOf(second), third, 0o640)
        return
      case 'read':
        return (await handle()).readFile('utf8')
      case 'writeFile':
        return (await handle()).writeFile(second)
      case 'write':
        return (await (await handle()).write(second, third)).bytesWritten
      case 'truncate':
        return (await handle()).truncate(second)
      case 'sync':
        return (await handle()).sync()
      case 'stat handle':
        return shown(await (await handle()).stat())
      case 'chmod handle':
        return (await handle()).chmod(0o600)
      case 'close':
        await handles[first]?.close()
        handles[first] = undefined
        return
      case 'lstat':
      case 'stat':
        return shown(await promises[what](pathOf(first)))
      case 'readdir':
        return (await promises.readdir(pathOf(first))).sort()
      case 'readFile':
        return promises.readFile(pathOf(first), 'utf8')
      case 'readlink':
      case 'unlink':
      case 'realpath':
      case 'access':
      case 'rmdir':
        return promises[what](pathOf(first))
      case 'mkdir':
        return promises.mkdir(pathOf(first), { recursive: second })
      case 'writeFile path':
        return promises.writeFile(pathOf(first), second, { flag: third })
      case 'symlink':
        return promises.symlink((first as string).replace(DIR, dir), pathOf(second))
      case 'rename':
      case 'link':
        return promises[what](pathOf(first), pathOf(second))
      case 'lutimes':
      case 'utimes':
        await promises[what](pathOf(first), second, second)
        return timeOf(await promises[what === 'utimes' ? 'stat' : 'lstat'](pathOf(first)))
      case 'chmod':
        return promises.chmod(pathOf(first), 0o604)
    }
  }

  function bySync([what, ...args]: Call): unknown {
    const [first, second, third] = args as [never, never, never]
    const fd = () => {
      const found = descriptors[first]
      if (found === undefined) throw new Error('nothing is open')
      return found
    }
    const close = () => {
      const open = descriptors[first]
      descriptors[first] = undefined
      if (open !== undefined) sync.closeSync(open)
    }
    switch (what) {
      case 'open':
        close()
        descriptors[first] = sync.openSync(pathOf(second), third, 0o640)
        return
      case 'read':
        return sync.readFileSync(fd(), 'utf8')
      case 'writeFile':
        return sync.writeFileSync(fd(), second)
      case 'write':
        return sync.writeSync(fd(), second, third)
      case 'truncate':
        return sync.ftruncateSync(fd(), second)
      case 'sync':
        return sync.fsyncSync(fd())
      case 'stat handle':
        return shown(sync.fstatSync(fd()))
      case 'chmod handle':
        return sync.fchmodSync(fd(), 0o600)
      case 'close':
        return close()
      case 'lstat':
        return shown(sync.lstatSync(pathOf(first)))
      case 'stat':
        return shown(sync.statSync(pathOf(first)))
      case 'readdir':
        return sync.readdirSync(pathOf(first)).sort()
      case 'readFile':
        return sync.readFileSync(pathOf(first), 'utf8')
      case 'readlink':
        return sync.readlinkSync(pathOf(first))
      case 'unlink':
        return sync.unlinkSync(pathOf(first))
      case 'realpath':
        return undefined // Node's own is written in JavaScript and asks with lstat
      case 'access':
        return sync.existsSync(pathOf(first))
      case 'rmdir':
        return sync.rmdirSync(pathOf(first))
      case 'mkdir':
        return sync.mkdirSync(pathOf(first), { recursive: second })
      case 'writeFile path':
        return sync.writeFileSync(pathOf(first), second, { flag: third })
      case 'symlink':
        return sync.symlinkSync((first as string).replace(DIR, dir), pathOf(second))
      case 'rename':
        return sync.renameSync(pathOf(first), pathOf(second))
      case 'link':
        return sync.linkSync(pathOf(first), pathOf(second))
      case 'lutimes':
        sync.lutimesSync(pathOf(first), second, second)
        return timeOf(sync.lstatSync(pathOf(first)))
      case 'utimes':
        sync.utimesSync(pathOf(first), second, second)
        return timeOf(sync.statSync(pathOf(first)))
      case 'chmod':
        return sync.chmodSync(pathOf(first), 0o604)
    }
  }

  const plain = (value: unknown) =>
    typeof value === 'string' ? value.replaceAll(dir, DIR).replaceAll(dirname(dir), VOLUME) : value
  return {
    async play(call: Call): Promise<unknown> {
      try {
        return { answer: plain(await (via === 'sync' ? bySync(call) : byPromises(call))) }
      } catch (error) {
        const { message, code, errno, syscall, path, dest } = error as NodeJS.ErrnoException & { dest?: string }
        return { message: plain(message), code, errno, syscall, path: plain(path), dest: plain(dest) }
      }
    },
    async end() {
      for (const handle of handles) await handle?.close()
      for (const fd of descriptors) if (fd !== undefined) sync.closeSync(fd)
    },
  }
}

interface Pair {
  real: Side
  disk: Disk
  end(): void
}

interface Comparison {
  make(): Pair
  /** After some of the calls: something happens to both. */
  meanwhile?(pair: Pair): void
  afterEach?(pair: Pair): void
  /** Calls that cannot be compared. */
  unlike?(call: Call): boolean
  /** A story that is always told, with `meanwhile` before its first call. */
  always: Call[]
  via?: 'promises' | 'sync'
  runs?: number
}

/** Random calls on both sides; the first difference fails, with fast-check's seed and the shortest story. */
async function compare({ make, meanwhile, afterEach, unlike, always, via = 'promises', runs = RUNS }: Comparison) {
  const story = fc.array(fc.oneof(...(CALLS as fc.Arbitrary<Call>[])), { minLength: 1, maxLength: 40, size: 'max' })
  const before = process.umask(0)
  const seen: Record<string, number> = {}
  try {
    await fc.assert(
      fc.asyncProperty(story, fc.nat({ max: 20 }), async (calls, turn) => {
        const pair = await make()
        const real = player(pair.real, via)
        const ours = player(simulated(pair.disk), via)
        try {
          for (const [index, call] of calls.entries()) {
            if (index === turn) meanwhile?.(pair)
            if (unlike?.(call)) continue
            const expected = await real.play(call)
            const outcome = String((expected as { code?: string }).code ?? 'done')
            seen[outcome] = (seen[outcome] ?? 0) + 1
            expect({ call, ...((await ours.play(call)) as object) }).toEqual({ call, ...(expected as object) })
            afterEach?.(pair)
          }
        } finally {
          await real.end()
          pair.end()
        }
      }),
      { numRuns: runs, examples: [[always, 0]] },
    )
  } finally {
    process.umask(before)
  }
  console.log('the same:', JSON.stringify(seen))
  return seen
}

function newDisk(seed = 1): Disk {
  const disk = createDisk(createRandom(seed), VOLUME)
  disk.sync(immediateCaller()).mkdirSync(DIR, { mode: 0o755 })
  return disk
}

/** @param mount what becomes of the parent folder before anything is in it */
function freshPair(mount: (parent: string) => () => void = () => () => {}): Pair {
  const parent = fs.mkdtempSync(join(tmpdir(), 'simulated-disk-'))
  const unmount = mount(parent)
  const dir = join(parent, 'home')
  fs.mkdirSync(dir)
  for (const folder of [parent, dir]) fs.chmodSync(folder, 0o755)
  const end = () => {
    unmount()
    fs.rmSync(parent, { recursive: true, force: true })
  }
  return { real: ofNode(dir), disk: newDisk(), end }
}

/** With a file at `a` that is guarded on both sides. */
function guardedPair(guard: Guard, really: (file: string) => () => void): Pair {
  const pair = freshPair()
  const file = join(pair.real.dir, 'a')
  fs.writeFileSync(file, 'kept', { mode: 0o600 })
  const lift = really(file)
  pair.disk.put(`${DIR}/a`, 'kept')
  pair.disk.sync(immediateCaller()).chmodSync(`${DIR}/a`, fs.statSync(file).mode & 0o777)
  pair.disk.guard(`${DIR}/a`, guard)
  return {
    ...pair,
    end() {
      lift()
      pair.end()
    },
  }
}

const run = (...command: [string, ...string[]]) => void execFileSync(command[0], command.slice(1), { stdio: 'pipe' })

function mountAlone(file: string): () => void {
  const source = `${dirname(dirname(file))}-source`
  fs.renameSync(file, source)
  fs.writeFileSync(file, '')
  run('mount', '--bind', source, file)
  return () => {
    run('umount', '--lazy', file)
    fs.unlinkSync(source)
  }
}

function makeImmutable(file: string): () => void {
  run('chattr', '+i', file)
  return () => run('chattr', '-i', file)
}

/** As another user, in a sticky folder that everybody may write to. */
function makeForeign(mode: number): (file: string) => () => void {
  return (file) => {
    fs.chmodSync(file, mode)
    fs.chmodSync(dirname(file), 0o1777)
    process.setegid?.(65534)
    process.seteuid?.(65534)
    return () => {
      process.seteuid?.(0)
      process.setegid?.(0)
    }
  }
}

/** Why it cannot be compared here, or false. */
function unlessPossible(guard: Guard, really: (file: string) => () => void): string | false {
  try {
    guardedPair(guard, really).end()
    return false
  } catch (error) {
    return `not permitted here: ${(error as Error).message.trim()}`
  }
}

const isCalled = (call: Call, ...names: string[]) => names.includes(call[0])
const names = (call: Call, ...paths: string[]) => call.some((arg) => paths.includes(arg as string))
const flagsOf = (call: Call): number => {
  const given = isCalled(call, 'open', 'writeFile path') ? call[3] : 0
  const flags = isCalled(call, 'writeFile path') ? given || 'w' : given
  if (typeof flags === 'number') return flags
  const creates = /[wa]/.test(String(flags)) ? O_CREAT : 0
  return creates | (String(flags).includes('x') ? O_EXCL : 0) | (String(flags).includes('w') ? O_TRUNC : 0)
}

describe('the simulated disk answers as a real one does', () => {
  it.each(['promises', 'sync'] as const)('to random calls of node:fs (%s)', async (via) => {
    const seen = await compare({
      make: () => freshPair(),
      via,
      always: [
        ['writeFile path', 'a', 'one', 'wx'],
        ['writeFile path', 'a', 'one', 'wx'],
        ['lstat', 'a/x'],
        ['symlink', 'b', 'b'],
        ['stat', 'b'],
        ['mkdir', 'd', false],
        ['link', 'd', 'c'],
        ['unlink', 'd'],
        ['readlink', 'd'],
        ['symlink', 'a', 'd/a'],
        ['rmdir', 'd'],
        ['rename', 'd', '..'],
        ['open', 0, 'a', O_WRONLY],
        ['read', 0],
        ['stat', 'e'],
      ] as Call[],
    })
    const codes = ['ENOENT', 'EEXIST', 'ENOTDIR', 'EISDIR', 'ELOOP', 'EINVAL', 'ENOTEMPTY', 'EBADF', 'EBUSY', 'EPERM']
    expect(Object.keys(seen)).toEqual(expect.arrayContaining(['done', ...codes]))
  })

  it('where a file is mounted alone', async ({ skip }) => {
    const why = unlessPossible('mounted alone', mountAlone)
    skip(why !== false, String(why))
    const seen = await compare({
      make: () => guardedPair('mounted alone', mountAlone),
      runs: RUNS / 3,
      always: [
        ['link', 'a', 'b'],
        ['unlink', 'a'],
        ['mkdir', 'd', false],
        ['rename', 'd', 'a'],
        ['writeFile path', 'b', '', 'w'],
        ['rename', 'b', 'a'],
        ['rename', 'a', 'c'],
        ['writeFile path', 'a', 'one', 'w'],
        ['readFile', 'a'],
      ] as Call[],
    })
    expect(Object.keys(seen)).toEqual(expect.arrayContaining(['done', 'EBUSY', 'EXDEV']))
  })

  it('where a file is immutable', async ({ skip }) => {
    const why = unlessPossible('immutable', makeImmutable)
    skip(why !== false, String(why))
    const seen = await compare({
      make: () => guardedPair('immutable', makeImmutable),
      runs: RUNS / 3,
      always: [
        ['unlink', 'a'],
        ['link', 'a', 'b'],
        ['writeFile path', 'b', '', 'w'],
        ['rename', 'b', 'a'],
        ['lutimes', 'a', 0],
        ['open', 0, 'a', 'r+'],
        ['open', 0, 'a', 'r'],
      ] as Call[],
    })
    expect(Object.keys(seen)).toEqual(expect.arrayContaining(['done', 'EPERM']))
  })

  it.for([
    ['foreign', 0o666, []],
    ['foreign, unwritable', 0o644, ['EACCES']],
  ] as const)('where a file in a sticky folder is %s', async ([guard, mode, codes], { skip }) => {
    const why = unlessPossible(guard, makeForeign(mode))
    skip(why !== false, String(why))
    const seen = await compare({
      make: () => guardedPair(guard, makeForeign(mode)),
      // The folder itself is another's, too; and a folder of ours without its x would be closed to us.
      // O_CREAT depends on fs.protected_regular.
      unlike: (call) =>
        names(call, '.', '..') ||
        isCalled(call, 'chmod', 'chmod handle') ||
        (flagsOf(call) & (O_CREAT | O_EXCL)) === O_CREAT,
      runs: RUNS / 3,
      always: [
        ['unlink', 'a'],
        ['writeFile path', 'b', '', 'wx'],
        ['rename', 'b', 'a'],
        ['rename', 'a', 'b'],
        ['open', 0, 'a', 'r+'],
        ['writeFile', 0, 'x'],
        ['link', 'a', 'c'],
        ['lutimes', 'a', 0],
      ] as Call[],
    })
    expect(Object.keys(seen)).toEqual(expect.arrayContaining(['done', 'EPERM', ...codes]))
  })

  it.skipIf(!canMount)('that is read-only from some time on', async () => {
    let small: SmallDisk | undefined
    const mount = (parent: string) => {
      const mounted = mountSmallDisk(parent, 'size=1m')
      small = mounted
      return () => mounted.unmount()
    }
    const seen = await compare({
      make: () => freshPair(mount),
      meanwhile({ disk }) {
        small?.readOnly(true)
        disk.faults.readOnly = true
      },
      // It cannot be made so as long as anything is open.
      unlike: (call) => typeof call[1] === 'number',
      runs: RUNS / 3,
      always: [
        ['writeFile path', 'a', '', 'wx'],
        ['unlink', 'a'],
        ['mkdir', '.', false],
        ['stat', 'a'],
        ['readdir', '.'],
      ] as Call[],
    })
    expect(Object.keys(seen)).toEqual(expect.arrayContaining(['done', 'EROFS', 'EEXIST', 'ENOENT']))
  })

  it.skipIf(!canMount)('that is full from some time on', async () => {
    let isFull = false
    const mount = (parent: string) => {
      const small = mountSmallDisk(parent, 'size=256k')
      isFull = false
      return () => small.unmount()
    }
    const fill = ({ real }: Pair) => {
      const file = fs.openSync(join(dirname(real.dir), 'filler'), 'a')
      try {
        for (;;) fs.writeSync(file, Buffer.alloc(4096))
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC')
      } finally {
        fs.closeSync(file)
      }
    }
    const seen = await compare({
      make: () => freshPair(mount),
      meanwhile(pair) {
        isFull = true
        fill(pair)
        pair.disk.faults.full = true
      },
      afterEach: (pair) => isFull && fill(pair),
      unlike: (call) =>
        names(call, '..', 'x'.repeat(80)) ||
        // The memory's own ways: folders and holes take nothing, and what a call frees it has again.
        isCalled(call, 'mkdir', 'truncate') ||
        (isCalled(call, 'write') && (call[3] as number) > 2) ||
        (flagsOf(call) & (O_TRUNC | O_EXCL)) === O_TRUNC,
      runs: RUNS / 3,
      always: [
        ['writeFile path', 'a', 'one', 'wx'],
        ['writeFile path', 'a', '', 'r+'],
        ['symlink', 'a', 'b'],
        ['rename', 'a', 'c'],
      ] as Call[],
    })
    expect(Object.keys(seen)).toEqual(expect.arrayContaining(['done', 'ENOSPC']))
  })
})

/** How something ends over many seeds: each outcome and how often. */
async function outcomes(once: (disk: Disk, side: Side) => Promise<unknown>): Promise<Record<string, number>> {
  const seen: Record<string, number> = {}
  for (let seed = 0; seed < 400; seed++) {
    const disk = newDisk(seed)
    const outcome = String(await once(disk, simulated(disk)))
    seen[outcome] = (seen[outcome] ?? 0) + 1
  }
  return seen
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error) => error.code,
  )
const FILE = `${VOLUME}/file`

/** With what is flushed: the file, the folder, both or nothing. */
async function writeNew({ promises }: Side, path: string, content: string, ...flushed: ('file' | 'folder')[]) {
  const file = await promises.open(path, 'w', 0o600)
  await file.writeFile(content)
  if (flushed.includes('file')) await file.sync()
  await file.close()
  if (flushed.includes('folder')) await flushFolder(promises)
}

async function flushFolder(promises: typeof fsp) {
  const folder = await promises.open(VOLUME, 'r')
  await folder.sync()
  await folder.close()
}

describe('after a loss of power', () => {
  it('there is what was flushed', async () => {
    const seen = await outcomes(async (disk, side) => {
      await writeNew(side, FILE, 'content', 'file', 'folder')
      disk.powerLoss()
      return disk.take(FILE)
    })
    expect(seen).toEqual({ content: 400 })
  })

  it('a name whose folder was not flushed may be gone', async () => {
    const seen = await outcomes(async (disk, side) => {
      await writeNew(side, FILE, 'content', 'file')
      disk.powerLoss()
      return disk.take(FILE)
    })
    expect(Object.keys(seen).sort()).toEqual(['content', 'null'])
  })

  it('a file that was not flushed may be whole, empty, cut or zeros, and what was flushed before is in it', async () => {
    const fresh = await outcomes(async (disk, side) => {
      await writeNew(side, FILE, 'content', 'folder')
      disk.powerLoss()
      return disk.take(FILE)
    })
    expect(Object.keys(fresh)).toEqual(expect.arrayContaining(['content', '', 'con', '\0'.repeat(7)]))
    for (const found of Object.keys(fresh)) expect(found).toMatch(/^(c?o?n?t?e?n?t?|\0+|co?n?t?e?n?t?\0+)$/)
    const appended = await outcomes(async (disk, { promises }) => {
      disk.put(FILE, 'kept')
      const file = await promises.open(FILE, 'a')
      await file.write('and more')
      disk.powerLoss()
      return disk.take(FILE)
    })
    expect(Object.keys(appended)).toEqual(expect.arrayContaining(['kept', 'keptand more', 'keptand']))
    for (const found of Object.keys(appended)) expect(found).toMatch(/^kept/)
  })

  it('a name is the old file or the new one, and never none, when its replacement was not flushed', async () => {
    const seen = await outcomes(async (disk, side) => {
      disk.put(FILE, 'old')
      await writeNew(side, `${FILE}.tmp`, 'new', 'file', 'folder')
      await side.promises.rename(`${FILE}.tmp`, FILE)
      disk.powerLoss()
      return `${disk.take(FILE)} in ${disk.list()}`
    })
    expect(Object.keys(seen).sort()).toEqual(['new in file,home', 'old in file,file.tmp,home'])
  })

  it('a removal that was not flushed may be undone', async () => {
    const seen = await outcomes(async (disk, { promises }) => {
      disk.put(FILE, 'old')
      await promises.unlink(FILE)
      disk.powerLoss()
      return disk.take(FILE)
    })
    expect(Object.keys(seen).sort()).toEqual(['null', 'old'])
  })

  it('what people did is there', async () => {
    const seen = await outcomes(async (disk) => {
      disk.put('gone', 'gone')
      disk.put('file', 'by hand')
      disk.remove('gone')
      disk.powerLoss()
      return `${disk.take('file')} in ${disk.list()}`
    })
    expect(seen).toEqual({ 'by hand in file,home': 400 })
  })

  it.each([
    ['fails', 'EIO', ['null', 'whole']],
    ['fails but keeps', 'EIO', ['whole']],
    ['lies', 'done', ['null', 'whole']],
  ] as const)('by a flush that %s', async (flush, code, expected) => {
    const seen = await outcomes(async (disk, { promises }) => {
      const file = await promises.open(FILE, 'w')
      await file.write('whole')
      await file.sync()
      disk.faults.flush = flush
      expect(await codeOf(flushFolder(promises))).toBe(code)
      disk.powerLoss()
      return disk.take(FILE)
    })
    expect(Object.keys(seen).sort()).toEqual(expected)
  })

  it('by a flush that failed and was repeated: what it had to do may be forgotten', async () => {
    const seen = await outcomes(async (disk, side) => {
      await writeNew(side, FILE, 'whole', 'file')
      disk.faults.flush = 'fails'
      expect(await codeOf(flushFolder(side.promises))).toBe('EIO')
      disk.faults.flush = 'works'
      await flushFolder(side.promises)
      disk.powerLoss()
      return disk.take(FILE)
    })
    expect(Object.keys(seen).sort()).toEqual(['null', 'whole'])
  })

  it('the beat of a lease may be an older one', async () => {
    const seen = await outcomes(async (disk, { promises, sync }) => {
      await promises.symlink('holder', `${VOLUME}/lease.1`)
      await flushFolder(promises)
      await promises.lutimes(`${VOLUME}/lease.1`, 7, 7)
      disk.powerLoss()
      return sync.lstatSync(`${VOLUME}/lease.1`).mtimeMs
    })
    expect(Object.keys(seen).sort()).toEqual(['0', '7000'])
  })
})

describe('what can be wrong with the simulated disk', () => {
  it('a crash leaves the first part of what is written in two', async () => {
    const seen: string[] = []
    for (let seed = 0; seed < 50; seed++) {
      const disk = newDisk(seed)
      let left = 2 // open, and the first part
      const caller: Caller = {
        operation: (_, effect) => (left-- > 0 ? Promise.resolve(effect()) : new Promise(() => {})),
        wall: () => 0,
      }
      void disk.promises(caller).writeFile(FILE, 'content')
      await new Promise(setImmediate)
      seen.push(disk.take(FILE) ?? 'null')
    }
    expect(seen).toEqual(expect.arrayContaining(['content', 'con', 'c']))
    for (const content of seen) expect('content'.startsWith(content)).toBe(true)
  })

  it('a crash can fall between two synchronous calls', () => {
    const disk = newDisk()
    disk.put(FILE, 'content')
    const moments: string[] = []
    const sync = disk.sync({
      ...immediateCaller(),
      moment(what) {
        moments.push(what)
        if (moments.length === 2) throw new Error('crashed')
      },
    })
    sync.linkSync(FILE, `${VOLUME}/other`)
    expect(() => sync.unlinkSync(FILE)).toThrow('crashed')
    expect(disk.list()).toEqual(['file', 'home', 'other'])
    expect(moments).toEqual([`link ${FILE}`, `unlink ${FILE}`])
  })

  it('full: what needs a block fails, and a file emptied to be written anew stays empty', async () => {
    const disk = newDisk()
    const { promises } = simulated(disk)
    disk.put(FILE, 'content')
    disk.faults.full = true
    await promises.symlink('x'.repeat(32), `${VOLUME}/lease.1`)
    await promises.lutimes(`${VOLUME}/lease.1`, 1, 1)
    expect(await codeOf(promises.symlink('x'.repeat(60), `${VOLUME}/lease.2`))).toBe('ENOSPC')
    expect(await codeOf(promises.mkdir(`${VOLUME}/folder`))).toBe('ENOSPC')
    await promises.writeFile(FILE, 'in place', { flag: 'r+' })
    expect(await codeOf(promises.writeFile(FILE, 'x'.repeat(5000), { flag: 'r+' }))).toBe('ENOSPC')
    expect(disk.take(FILE)).toBe('x'.repeat(4096))
    expect(await codeOf(promises.writeFile(FILE, 'anew'))).toBe('ENOSPC')
    expect(disk.take(FILE)).toBe('')
    expect((await promises.statfs(VOLUME)).bavail).toBe(0)
    disk.faults.full = false
    await promises.writeFile(FILE, 'anew')
    expect(disk.take(FILE)).toBe('anew')
  })

  it('away: the folder is gone, or empty; what is open goes on, and people see the volume itself', async () => {
    const disk = newDisk()
    const { promises } = simulated(disk)
    disk.put(FILE, 'content')
    const open = await promises.open(FILE, 'r+')
    disk.faults.away = 'gone'
    for (const call of [promises.readFile(FILE), promises.readdir(VOLUME), promises.stat(VOLUME)]) {
      await expect(call).rejects.toMatchObject({ code: 'ENOENT' })
    }
    await open.writeFile('changed')
    disk.faults.away = 'empty'
    expect(await promises.readdir(VOLUME)).toEqual([])
    await promises.writeFile(FILE, 'on the mount point')
    expect(disk.take(FILE)).toBe('changed')
    expect(disk.list()).toEqual(['file', 'home'])
    disk.faults.away = false
    expect(await promises.readFile(FILE, 'utf8')).toBe('changed')
  })

  it('failing: an operation says EIO, whether it took effect or not', async () => {
    const seen = await outcomes(async (disk, { promises }) => {
      disk.faults.failing = 1
      const code = await codeOf(promises.symlink('target', `${VOLUME}/link`))
      return `${code}, ${disk.list()}`
    })
    expect(Object.keys(seen).sort()).toEqual(['EIO, home', 'EIO, home,link'])
  })

  it('locked, without hard links, without a flush for folders', async () => {
    const disk = newDisk()
    const { promises } = simulated(disk)
    disk.put(FILE, 'content')
    disk.faults.locked = true
    expect(await codeOf(promises.unlink(FILE))).toBe('EACCES')
    expect(await codeOf(promises.writeFile(`${VOLUME}/new`, ''))).toBe('EACCES')
    await promises.writeFile(FILE, 'in place')
    disk.faults.locked = false
    disk.faults.hardLinks = false
    expect(await codeOf(promises.link(FILE, `${VOLUME}/other`))).toBe('EPERM')
    disk.faults.flushesFolders = false
    expect(await codeOf(flushFolder(promises))).toBe('EINVAL')
  })

  it('a guarded file is put in place by people, and free when the guard is lifted', async () => {
    const disk = newDisk()
    const { promises, sync } = simulated(disk)
    disk.put(FILE, 'content')
    const { ino } = sync.statSync(FILE)
    for (const guard of ['mounted alone', 'immutable', 'foreign', 'foreign, unwritable'] as const) {
      disk.guard(FILE, guard)
      disk.put(FILE, guard)
      expect(disk.take(FILE)).toBe(guard)
      expect(sync.statSync(FILE).ino).toBe(ino)
      expect(await codeOf(promises.unlink(FILE))).toBe(guard === 'mounted alone' ? 'EBUSY' : 'EPERM')
    }
    disk.guard(FILE, 'foreign')
    expect(await codeOf(promises.writeFile(FILE, 'x', { flag: 'w' })), 'fs.protected_regular').toBe('EACCES')
    await promises.writeFile(FILE, 'in place', { flag: 'r+' })
    disk.guard(FILE, undefined)
    await promises.unlink(FILE)
    expect(disk.take(FILE)).toBeNull()
    expect(() => disk.guard(FILE, 'immutable')).toThrow('no /data/file')
    disk.put('x', '')
    await promises.symlink('x', `${VOLUME}/link`)
    disk.put('link', 'through it')
    expect(disk.take('x')).toBe('through it')
    disk.remove('link')
    expect(disk.list()).toEqual(['home', 'x'])
    disk.empty()
    expect(disk.list()).toEqual([])
  })

  it('does what a seed says', async () => {
    const story = async () => {
      const disk = newDisk(7)
      const side = simulated(disk)
      disk.faults.failing = 0.1
      for (let round = 0; round < 50; round++) {
        await writeNew(side, `${VOLUME}/${round % 7}`, `content ${round}`, 'folder').catch(() => {})
        if (round % 10 === 9) disk.powerLoss()
      }
      return disk.list().map((name) => [name, disk.take(name)])
    }
    expect(await story()).toEqual(await story())
  })

  it('makes so many operations a second', async () => {
    const disk = newDisk()
    const { promises, sync } = simulated(disk)
    const value = 'x'.repeat(2000)
    const began = performance.now()
    for (let round = 0; round < 10_000; round++) {
      const file = await promises.open(`${FILE}.tmp`, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
      await file.writeFile(value)
      await file.sync()
      await file.close()
      sync.renameSync(`${FILE}.tmp`, FILE)
      await flushFolder(promises)
      await promises.lstat(`${VOLUME}/missing`).catch(() => {})
    }
    const rate = (10_000 * 10) / ((performance.now() - began) / 1000)
    console.log(`simulated disk: ${Math.round(rate / 1000)} thousand operations a second`)
  })
})
