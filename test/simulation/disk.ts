import { constants } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import type { Caller } from './caller'
import { type Condition, type File, FileSystem, type Folder, type Guard, type Handle, type Inode } from './file-system'
import { type Code, posixError, Refusal, refuse } from './posix-error'
import type { Random } from './random'

export type { Guard } from './file-system'

/** What can go wrong, beside the state of the file system; each may be changed at any time. */
export interface DiskFaults extends Condition {
  /** How probably any operation says EIO: as often before it took effect as after. */
  failing: number
  /**
   * What a flush does: its work; EIO, and what was to be flushed may never reach the disk, whatever later flushes say; EIO, though
   * it did reach it; or it says that it has been done though it has not.
   */
  flush: 'works' | 'fails' | 'fails but keeps' | 'lies'
  /** Of a folder: file systems that cannot do it say EINVAL. */
  flushesFolders: boolean
}

/**
 * A simulated disk, mounted at one folder. Paths are absolute, or relative to that folder in what people do.
 *
 * A crash of a process loses nothing that took effect; a loss of power what was not flushed.
 */
export interface Disk {
  /** The folder. */
  dir: string
  faults: DiskFaults
  /** What `node:fs/promises` is to that process. */
  promises(caller: Caller): DiskPromises
  /** What `node:fs` is to that process, as far as it is synchronous. */
  sync(caller: Caller): DiskSync
  /** The machine loses its power, with every process on it: what was not flushed is lost, or partly, or not. */
  powerLoss(): void
  /** From now on the file's name cannot be replaced, until it is called with undefined. The file must exist. */
  guard(path: string, guard: Guard | undefined): void
  /** As a person does it, by hand and whatever is wrong: durable at once, links are followed. */
  put(path: string, content: string): void
  /** The file's content; null where there is none. */
  take(path: string): string | null
  /** A link itself, not what it points to. */
  remove(path: string): void
  /** Everything in the folder is gone. */
  empty(): void
  /** The names in the folder, sorted. */
  list(): string[]
}

export type DiskPromises = ReturnType<typeof promisesOf>
export type DiskSync = ReturnType<typeof syncOf>

type Act = <T>(caller: Caller, syscall: string, path: string | undefined, effect: () => T, dest?: string) => T
type Encoding =
  | BufferEncoding
  | null
  | { encoding?: BufferEncoding | null; flag?: string | number; mode?: number }
  | undefined
type Time = Date | number | string

interface World {
  files: FileSystem
  random: Random
  faults: DiskFaults
  act: Act
  /** The highest that was given out. */
  descriptors: number
}

/** @param dir where it is mounted */
export function createDisk(random: Random, dir = '/data'): Disk {
  if (!/^(\/[^/]+)+$/.test(dir)) throw new Error(`a disk cannot be mounted at ${dir}`)
  const files = new FileSystem(dir, random)
  const faults: DiskFaults = Object.assign(files.condition, {
    failing: 0,
    flush: 'works' as const,
    flushesFolders: true,
  })

  function act<T>(caller: Caller, syscall: string, path: string | undefined, effect: () => T, dest?: string): T {
    const broken = faults.failing > 0 && random.chance(faults.failing)
    files.now = caller.wall()
    try {
      if (broken && random.chance(0.5)) refuse('EIO')
      const result = effect()
      if (broken) refuse('EIO')
      return result
    } catch (error) {
      throw error instanceof Refusal ? posixError(error.code, syscall, error.path ?? path, dest) : error
    }
  }

  /** On the volume, whether it is mounted or not. */
  function byHand<T>(
    path: string,
    work: (parent: Folder, name: string, inode: Inode | undefined) => T,
    follow = true,
  ): T | undefined {
    const { away } = faults
    faults.away = false
    try {
      const { parent, name, inode } = files.find(isAbsolute(path) ? path : join(dir, path), follow)
      return work(parent, name, inode)
    } catch (error) {
      if (error instanceof Refusal) return undefined
      throw error
    } finally {
      faults.away = away
    }
  }

  const world: World = { files, random, faults, act, descriptors: 10 }
  return {
    dir,
    faults,
    promises: (caller) => promisesOf(world, caller),
    sync: (caller) => syncOf(world, caller),
    powerLoss: () => files.powerLoss(),
    guard(path, guard) {
      const done = byHand(path, (_parent, _name, inode) => {
        if (!inode) return false
        inode.guard = guard
        return true
      })
      if (!done) throw new Error(`there is no ${path} to be guarded`)
    },
    put(path, content) {
      const done = byHand(path, (parent, name) => {
        files.place(parent, name, content)
        return true
      })
      if (!done) throw new Error(`${path} cannot be put there`)
    },
    take: (path) =>
      byHand(path, (_parent, _name, inode) => (inode?.kind === 'file' ? inode.now.toString() : null)) ?? null,
    remove: (path) => byHand(path, (parent, name, inode) => inode && files.discard(parent, [name]), false),
    empty: () => files.discard(files.volume, [...files.volume.now.keys()]),
    list: () => [...files.volume.now.keys()].sort(),
  }
}

/** How an operation is asked for: over `caller.operation`, or at once. */
type Ask<Way> = <T>(
  syscall: string,
  path: string | undefined,
  effect: () => T,
  dest?: string,
) => Way extends 'sync' ? T : Promise<T>

/** The operations that are the same both ways. */
function common<Way extends 'sync' | 'promises'>({ files, random, faults }: World, ask: Ask<Way>) {
  const changeTimes = (syscall: string, path: string, accessed: Time, modified: Time, follow: boolean) =>
    ask(syscall, path, () => files.utimes(files.existing(path, follow), msOf(accessed), msOf(modified)))
  return {
    stat: (path: string) => ask('stat', path, () => new Stats(files.existing(path))),
    lstat: (path: string) => ask('lstat', path, () => new Stats(files.existing(path, false))),
    access: (path: string, mode = constants.F_OK) =>
      ask('access', path, () => {
        const { guard } = files.existing(path)
        if (!(mode & constants.W_OK)) return
        if (faults.readOnly) refuse('EROFS')
        if (guard === 'immutable') refuse('EPERM')
        if (guard === 'foreign, unwritable') refuse('EACCES')
      }),
    /** In an order that changes. */
    readdir: (path: string, options?: { withFileTypes?: false } | BufferEncoding) =>
      ask('scandir', path, () => {
        if (typeof options === 'object' && options.withFileTypes) throw new Error('withFileTypes is not simulated')
        const inode = files.existing(path)
        if (inode.kind !== 'folder') refuse('ENOTDIR')
        const names = [...inode.now.keys()]
        const first = names.length > 1 ? random.below(names.length) : 0
        return first === 0 ? names : [...names.slice(first), ...names.slice(0, first)]
      }),
    readlink: (path: string) =>
      ask('readlink', path, () => {
        const inode = files.existing(path, false)
        return inode.kind === 'link' ? inode.target : refuse('EINVAL')
      }),
    realpath: (path: string) =>
      ask('realpath', path, () => {
        const place = files.find(path, true)
        return place.inode ? place.path : refuse('ENOENT')
      }),
    statfs: (path: string) =>
      ask('statfs', path, () => {
        files.existing(path)
        const bavail = faults.full ? 0 : 500_000
        return { type: 0xef53, bsize: 4096, blocks: 1_000_000, bfree: bavail, bavail, files: 1_000_000, ffree: 900_000 }
      }),
    link: (from: string, to: string) => ask('link', from, () => files.link(from, to), to),
    symlink: (target: string, path: string) => ask('symlink', target, () => files.symlink(target, path), path),
    unlink: (path: string) => ask('unlink', path, () => files.unlink(path)),
    rmdir: (path: string) => ask('rmdir', path, () => files.rmdir(path)),
    rename: (from: string, to: string) => ask('rename', from, () => files.rename(from, to), to),
    mkdir: (path: string, options?: number | { mode?: number; recursive?: boolean }) =>
      ask('mkdir', path, () => {
        const { mode = 0o777, recursive = false } = typeof options === 'number' ? { mode: options } : (options ?? {})
        return recursive ? makeAll(files, path, mode) : files.mkdir(path, mode)
      }),
    chmod: (path: string, mode: number) => ask('chmod', path, () => files.chmod(files.existing(path), mode)),
    utimes: (path: string, accessed: Time, modified: Time) => changeTimes('utime', path, accessed, modified, true),
    lutimes: (path: string, accessed: Time, modified: Time) => changeTimes('lutime', path, accessed, modified, false),
  }
}

function promisesOf(world: World, caller: Caller) {
  const { files, act } = world
  const ask: Ask<'promises'> = (syscall, path, effect, dest) =>
    caller.operation(path === undefined ? syscall : dest ? `${syscall} ${path} -> ${dest}` : `${syscall} ${path}`, () =>
      act(caller, syscall, path, effect, dest),
    )
  async function open(path: string, flags: string | number = 'r', mode = 0o666) {
    const handle = await ask('open', path, () => files.open(path, numberOf(flags), mode))
    return new FileHandle(world, caller, path, handle)
  }

  return {
    constants,
    open,
    ...common(world, ask),
    async readFile(path: string | FileHandle, options?: Encoding) {
      if (typeof path !== 'string') return path.readFile(options)
      const handle = await ask('open', path, () => files.open(path, numberOf(flagOf(options) || 'r'), 0))
      return decoded(await ask('read', undefined, () => files.read(handle)), options)
    },
    async writeFile(path: string | FileHandle, data: string | Uint8Array, options?: Encoding) {
      if (typeof path !== 'string') return path.writeFile(data, options)
      const handle = await open(path, flagOf(options) || 'w', modeOf(options))
      try {
        await handle.writeFile(data, options)
      } finally {
        await handle.close()
      }
    },
    truncate: (path: string, length = 0) =>
      ask('open', path, () => files.truncate(files.open(path, constants.O_RDWR, 0), length)),
  }
}

class FileHandle {
  fd: number
  readonly #world: World
  readonly #caller: Caller
  readonly #path: string
  readonly #handle: Handle

  constructor(world: World, caller: Caller, path: string, handle: Handle) {
    this.#world = world
    this.#caller = caller
    this.#path = path
    this.#handle = handle
    this.fd = ++world.descriptors
  }

  #use<T>(syscall: string, effect: (files: FileSystem, handle: Handle) => T): Promise<T> {
    if (this.fd === -1) return Promise.reject(posixError('EBADF', syscall))
    const { files, act } = this.#world
    return this.#caller.operation(`${syscall} ${this.#path}`, () =>
      act(this.#caller, syscall, undefined, () => effect(files, this.#handle)),
    )
  }

  stat() {
    return this.#use('fstat', (_, { inode }) => new Stats(inode))
  }

  async readFile(options?: Encoding) {
    return decoded(await this.#use('read', (files, handle) => files.read(handle)), options)
  }

  /** As often as not in two parts, between which others see the first. */
  async writeFile(data: string | Uint8Array, options?: Encoding) {
    const { random } = this.#world
    const bytes = encoded(data, encodingOf(options))
    const cut = bytes.length > 1 && random.chance(0.5) ? random.below(bytes.length) : 0
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done < cut ? cut : undefined)
      done += await this.#use('write', (files, handle) => files.write(handle, part))
    }
  }

  async write(data: string | Uint8Array, ...rest: (number | null | string | undefined)[]) {
    const { bytes, position } = toWrite(data, rest)
    const bytesWritten = await this.#use('write', (files, handle) => files.write(handle, bytes, position))
    return { bytesWritten, buffer: data }
  }

  truncate(length = 0) {
    return this.#use('ftruncate', (files, handle) => files.truncate(handle, length))
  }

  sync() {
    return this.#use('fsync', (_, handle) => flush(this.#world, handle))
  }

  datasync() {
    return this.#use('fdatasync', (_, handle) => flush(this.#world, handle))
  }

  chmod(mode: number) {
    return this.#use('fchmod', (files, { inode }) => files.chmod(inode, mode))
  }

  utimes(accessed: Time, modified: Time) {
    return this.#use('futime', (files, { inode }) => files.utimes(inode, msOf(accessed), msOf(modified)))
  }

  async close() {
    const closing = this.fd === -1 ? undefined : this.#use('close', () => {})
    this.fd = -1
    await closing
  }
}

function syncOf(world: World, caller: Caller) {
  const { files, act } = world
  const ask: Ask<'sync'> = (syscall, path, effect, dest) => {
    caller.moment?.(path === undefined ? syscall : `${syscall} ${path}`)
    return act(caller, syscall, path, effect, dest)
  }
  const opened = new Map<number, Handle>()

  const handle = (fd: number) => opened.get(fd) ?? refuse('EBADF')
  const use = <T>(syscall: string, fd: number, effect: (handle: Handle) => T): T =>
    ask(syscall, undefined, () => effect(handle(fd)))

  function openSync(path: string, flags: string | number = 'r', mode = 0o666): number {
    const fd = ++world.descriptors
    opened.set(
      fd,
      ask('open', path, () => files.open(path, numberOf(flags), mode)),
    )
    return fd
  }

  function closeSync(fd: number): void {
    use('close', fd, () => opened.delete(fd))
  }

  function writeAll(fd: number, bytes: Buffer): void {
    for (let done = 0; done < bytes.length; ) {
      done += use('write', fd, (file) => files.write(file, bytes.subarray(done)))
    }
  }

  const { stat, lstat, access, readdir, readlink, realpath, statfs, ...more } = common(world, ask)
  const { link, symlink, unlink, rmdir, rename, mkdir, chmod, utimes, lutimes } = more
  /** Undefined instead of ENOENT where that is asked for. */
  const seen =
    (look: (path: string) => Stats) =>
    (path: string, options?: { throwIfNoEntry?: boolean }): Stats => {
      try {
        return look(path)
      } catch (error) {
        if (options?.throwIfNoEntry !== false || (error as { code?: Code }).code !== 'ENOENT') throw error
        return undefined as unknown as Stats
      }
    }
  return {
    constants,
    openSync,
    closeSync,
    statSync: seen(stat),
    lstatSync: seen(lstat),
    fstatSync: (fd: number) => use('fstat', fd, ({ inode }) => new Stats(inode)),
    accessSync: access,
    existsSync(path: string): boolean {
      try {
        stat(path)
        return true
      } catch {
        return false
      }
    },
    readdirSync: readdir,
    readlinkSync: readlink,
    realpathSync: realpath,
    statfsSync: statfs,
    linkSync: link,
    symlinkSync: symlink,
    unlinkSync: unlink,
    rmdirSync: rmdir,
    renameSync: rename,
    mkdirSync: mkdir,
    chmodSync: chmod,
    utimesSync: utimes,
    lutimesSync: lutimes,
    readFileSync(path: string | number, options?: Encoding) {
      if (typeof path === 'number') {
        return decoded(
          use('read', path, (file) => files.read(file)),
          options,
        )
      }
      const file = ask('open', path, () => files.open(path, numberOf(flagOf(options) || 'r'), 0))
      return decoded(
        ask('read', undefined, () => files.read(file)),
        options,
      )
    },
    writeFileSync(path: string | number, data: string | Uint8Array, options?: Encoding): void {
      const bytes = encoded(data, encodingOf(options))
      const fd = typeof path === 'number' ? path : openSync(path, flagOf(options) || 'w', modeOf(options))
      try {
        writeAll(fd, bytes)
      } finally {
        if (fd !== path) closeSync(fd)
      }
    },
    readSync(fd: number, into: Uint8Array, offset = 0, length = into.byteLength - offset, position?: number | null) {
      return use('read', fd, (file) => {
        const bytes = files.read(file, length, position)
        into.set(bytes, offset)
        return bytes.length
      })
    },
    writeSync(fd: number, data: string | Uint8Array, ...rest: (number | null | string | undefined)[]): number {
      const { bytes, position } = toWrite(data, rest)
      return use('write', fd, (file) => files.write(file, bytes, position))
    },
    ftruncateSync: (fd: number, length = 0) => use('ftruncate', fd, (file) => files.truncate(file, length)),
    fsyncSync: (fd: number) => use('fsync', fd, (file) => flush(world, file)),
    fdatasyncSync: (fd: number) => use('fdatasync', fd, (file) => flush(world, file)),
    fchmodSync: (fd: number, mode: number) => use('fchmod', fd, ({ inode }) => files.chmod(inode, mode)),
  }
}

function flush({ files, faults, random }: World, { inode }: Handle): void {
  if (inode.kind === 'folder' && !faults.flushesFolders) refuse('EINVAL')
  if (faults.flush === 'works' || faults.flush === 'fails but keeps') files.flush(inode)
  if (faults.flush === 'fails' && random.chance(0.5)) files.forget(inode)
  if (faults.flush !== 'works' && faults.flush !== 'lies') refuse('EIO')
}

/** As Node does it (MKDirpSync in node_file.cc). @returns the first folder that was made */
function makeAll(files: FileSystem, path: string, mode: number): string | undefined {
  let first: string | undefined
  const paths = [path]
  for (let next = paths.pop(); next !== undefined; next = paths.pop()) {
    try {
      files.mkdir(next, mode)
      first ??= next
    } catch (error) {
      const { code } = error as Refusal
      if (code === 'ENOENT' && dirname(next) !== next) {
        paths.push(next, dirname(next))
      } else {
        if (code !== 'EEXIST' && code !== 'EROFS') throw error
        const { kind } = files.find(next, true).inode ?? refuse('ENOENT', next)
        if (kind !== 'folder') refuse(code === 'EEXIST' && paths.length > 0 ? 'ENOTDIR' : 'EEXIST', next)
      }
    }
  }
  return first
}

const FORMATS: Record<Inode['kind'], number> = {
  file: constants.S_IFREG,
  folder: constants.S_IFDIR,
  link: constants.S_IFLNK,
}

class Stats {
  readonly dev: number
  readonly ino: number
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly atimeMs: number
  readonly mtimeMs: number
  readonly ctimeMs: number
  readonly birthtimeMs: number

  constructor(inode: Inode) {
    this.dev = inode.dev
    this.ino = inode.ino
    this.mode = inode.mode | FORMATS[inode.kind]
    this.nlink = inode.links
    this.uid = inode.guard?.startsWith('foreign') ? 65534 : inode.uid
    this.gid = this.uid
    this.size = sizeOf(inode)
    this.atimeMs = inode.accessed
    this.mtimeMs = inode.modified
    this.ctimeMs = inode.changed
    this.birthtimeMs = inode.born
  }
  get atime() {
    return new Date(this.atimeMs)
  }
  get mtime() {
    return new Date(this.mtimeMs)
  }
  get ctime() {
    return new Date(this.ctimeMs)
  }
  get birthtime() {
    return new Date(this.birthtimeMs)
  }
  isFile() {
    return (this.mode & constants.S_IFMT) === constants.S_IFREG
  }
  isDirectory() {
    return (this.mode & constants.S_IFMT) === constants.S_IFDIR
  }
  isSymbolicLink() {
    return (this.mode & constants.S_IFMT) === constants.S_IFLNK
  }
}

function sizeOf(inode: File | Inode): number {
  if (inode.kind === 'file') return inode.now.length
  return inode.kind === 'link' ? Buffer.byteLength(inode.target) : 4096
}

const { O_RDONLY, O_RDWR, O_WRONLY, O_CREAT, O_TRUNC, O_APPEND, O_EXCL } = constants
const FLAGS: Record<string, number> = {
  r: O_RDONLY,
  'r+': O_RDWR,
  w: O_WRONLY | O_CREAT | O_TRUNC,
  'w+': O_RDWR | O_CREAT | O_TRUNC,
  wx: O_WRONLY | O_CREAT | O_TRUNC | O_EXCL,
  'wx+': O_RDWR | O_CREAT | O_TRUNC | O_EXCL,
  a: O_WRONLY | O_CREAT | O_APPEND,
  'a+': O_RDWR | O_CREAT | O_APPEND,
  ax: O_WRONLY | O_CREAT | O_APPEND | O_EXCL,
}

function numberOf(flags: string | number): number {
  const number = typeof flags === 'number' ? flags : FLAGS[flags]
  if (number === undefined) throw new TypeError(`not simulated: the flags ${flags}`)
  return number
}

function msOf(time: Time): number {
  return time instanceof Date ? time.getTime() : Number(time) * 1000
}

/** write(bytes, offset, length, position), write(bytes, { offset, length, position }) is not simulated, write(text, position, encoding). */
function toWrite(data: string | Uint8Array, rest: (number | null | string | undefined)[]) {
  if (typeof data === 'string') {
    const [position, encoding] = rest as [number | null | undefined, BufferEncoding | undefined]
    return { bytes: encoded(data, encoding), position }
  }
  const [offset, length, position] = rest as (number | null | undefined)[]
  const from = offset ?? 0
  return { bytes: encoded(data).subarray(from, from + (length ?? data.byteLength - from)), position }
}

function encoded(data: string | Uint8Array, encoding?: BufferEncoding | null): Buffer {
  if (typeof data === 'string') return Buffer.from(data, encoding ?? 'utf8')
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

function decoded(bytes: Buffer, options: Encoding): string
function decoded(bytes: Buffer, options: Encoding): string | Buffer {
  const encoding = encodingOf(options)
  return encoding ? bytes.toString(encoding) : Buffer.from(bytes)
}

function encodingOf(options: Encoding): BufferEncoding | null | undefined {
  return typeof options === 'object' && options !== null ? options.encoding : options
}

function flagOf(options: Encoding): string | number | undefined {
  return typeof options === 'object' && options !== null ? options.flag : undefined
}

function modeOf(options: Encoding): number {
  return (typeof options === 'object' && options !== null ? options.mode : undefined) ?? 0o666
}
