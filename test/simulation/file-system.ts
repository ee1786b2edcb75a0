import { constants } from 'node:fs'
import { refuse } from './posix-error'
import type { Random } from './random'

/**
 * A small POSIX file system in memory, as Linux has it. Everything is synchronous and throws a Refusal.
 *
 * What is written is at once what everybody sees (`now`), and is on the disk (`kept`) once it has been flushed: a file's bytes by
 * a flush of the file, names by a flush of their folder (fsync(2)). What a loss of power leaves is decided by `powerLoss`.
 */

const NOTHING = Buffer.alloc(0)

/** Why a name cannot be replaced; rename and unlink of it are refused. */
export type Guard =
  /** A mount of its own (Docker: `-v file:/data/file`): EBUSY; it can be written in place. */
  | 'mounted alone'
  /** chattr +i: EPERM, and nothing can be opened for writing. */
  | 'immutable'
  /** Another user's in a sticky folder: EPERM; it can be written in place, but not with O_CREAT (fs.protected_regular). */
  | 'foreign'
  /** The same, and EACCES for writing in place. */
  | 'foreign, unwritable'

/** What can be wrong with the whole of it; may be changed at any time. */
export interface Condition {
  /** ENOSPC for what needs a block that is not there yet. What is freed is at once taken by somebody else. */
  full: boolean
  /** EROFS. */
  readOnly: boolean
  /** EACCES for whatever changes the names in a folder. */
  locked: boolean
  /** The folder's mount: gone with its mount point (ENOENT), or gone so that the empty folder beneath is seen. */
  away: false | 'gone' | 'empty'
  /** Without them link(2) says EPERM. */
  hardLinks: boolean
}

interface Change<T> {
  apply(value: T): T
  /** What the first bytes of it would have done. */
  torn?(value: T, share: number): T
  /** Its flush has failed, and Linux has forgotten that it ever was to be flushed (lwn.net/Articles/752063). */
  forgotten?: boolean
}

class Attributes {
  uid = 0
  links = 0
  guard: Guard | undefined = undefined
  born: number
  accessed: number
  modified: number
  changed: number
  /** The modification time on the disk, if it is not `modified`. */
  keptModified: number | undefined = undefined

  constructor(
    readonly ino: number,
    readonly dev: number,
    public mode: number,
    at: number,
  ) {
    this.born = at
    this.accessed = at
    this.modified = at
    this.changed = at
  }
}

interface Kept<T> {
  now: T
  kept: T
  pending: Change<T>[]
  /** Some change was never to be kept: `kept` is not what `now` says, even if nothing is pending. */
  differs: boolean
}

class File extends Attributes implements Kept<Buffer> {
  readonly kind = 'file'
  now: Buffer = NOTHING
  kept: Buffer = NOTHING
  pending: Change<Buffer>[] = []
  differs = false
}

class Folder extends Attributes implements Kept<Map<string, Inode>> {
  readonly kind = 'folder'
  now = new Map<string, Inode>()
  kept = new Map<string, Inode>()
  pending: Change<Map<string, Inode>>[] = []
  differs = false
}

class Link extends Attributes {
  readonly kind = 'link'
  target = ''
}

export type { File, Folder }
export type Inode = File | Folder | Link

export interface Handle {
  inode: File | Folder
  flags: number
  position: number
}

interface Place {
  parent: Folder
  /** Empty for the root and for what ends with a dot. */
  name: string
  inode?: Inode
  path: string
}

const BLOCK = 4096
/** A shorter target lives in the inode (ext4). */
const LONGEST_IN_INODE = 59
/** What is not flushed is written all the same after a while: the oldest first. */
const MOST_PENDING = 256
/** When what has no name any more is forgotten. */
const MOST_DIRTY = 4096

const { O_ACCMODE, O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NOFOLLOW, O_DIRECTORY } = {
  ...constants,
  O_ACCMODE: 3,
}

export class FileSystem {
  /** What is mounted at `dir`. */
  readonly volume: Folder
  readonly condition: Condition = { full: false, readOnly: false, locked: false, away: false, hardLinks: true }
  /** Wall clock in ms of whoever asks now. */
  now = 0
  #inodes = 0
  readonly #root: Folder
  readonly #mountPoint: Folder
  readonly #dirty = new Set<Inode>()
  readonly #random: Random

  constructor(dir: string, random: Random) {
    this.#random = random
    this.#root = this.#folder(1, 0o755)
    let folder = this.#root
    for (const name of partsOf(dir)) {
      const inner = this.#folder(1, 0o755)
      folder.now.set(name, inner)
      folder.kept.set(name, inner)
      folder = inner
    }
    this.#mountPoint = folder
    this.volume = this.#folder(2, 0o755)
  }

  // Paths

  /** @param follow whether a link in the last place is followed, to what need not be there */
  find(path: string, follow: boolean): Place {
    let parts = partsOf(path)
    let way: Folder[] = [this.#root]
    let names: string[] = []
    let hops = 0
    let parent = this.#root
    for (let index = 0; index < parts.length; index++) {
      const name = parts[index] as string
      parent = way.at(-1) as Folder
      if (name === '.') continue
      if (name === '..') {
        if (way.length > 1) way.pop()
        names.pop()
        continue
      }
      if (name.length > 255) refuse('ENAMETOOLONG')
      const inode = this.#child(parent, name)
      const last = index === parts.length - 1
      if (inode?.kind === 'link' && (follow || !last)) {
        if (++hops > 40) refuse('ELOOP')
        parts = [...partsOf(inode.target), ...parts.slice(index + 1)]
        if (inode.target.startsWith('/')) {
          way = [this.#root]
          names = []
        }
        index = -1
        continue
      }
      if (last) return { parent, name, inode, path: `/${[...names, name].join('/')}` }
      if (!inode) refuse('ENOENT')
      if (inode.kind !== 'folder') refuse('ENOTDIR')
      way.push(inode)
      names.push(name)
    }
    const inode = way.at(-1) as Folder
    return { parent, name: '', inode, path: `/${names.join('/')}` }
  }

  #child(folder: Folder, name: string): Inode | undefined {
    const inode = folder.now.get(name)
    if (inode !== this.#mountPoint) return inode
    const { away } = this.condition
    return away === 'gone' ? undefined : away === 'empty' ? inode : this.volume
  }

  existing(path: string, follow = true): Inode {
    return this.find(path, follow).inode ?? refuse('ENOENT')
  }

  // Names

  link(from: string, to: string): void {
    const inode = this.existing(from, false)
    const place = this.#vacant(to)
    if (inode.dev !== place.parent.dev || inode.guard === 'mounted alone') refuse('EXDEV')
    if (inode.guard === 'foreign, unwritable') refuse('EPERM') // fs.protected_hardlinks
    this.#unlocked()
    if (inode.guard === 'immutable' || inode.kind === 'folder' || !this.condition.hardLinks) refuse('EPERM')
    inode.changed = this.now
    this.#rename(place.parent, [[place.name, inode]])
  }

  unlink(path: string): void {
    const { parent, name, inode } = this.find(path, false)
    if (name === '') refuse('EISDIR')
    this.#writable()
    if (!inode) refuse('ENOENT')
    this.#removable(inode)
    if (inode.kind === 'folder') refuse('EISDIR')
    if (inode.guard === 'mounted alone') refuse('EBUSY')
    this.#rename(parent, [[name, undefined]])
  }

  rmdir(path: string): void {
    const { parent, name, inode } = this.find(path, false)
    if (name === '') refuse(path.endsWith('..') ? 'ENOTEMPTY' : path.endsWith('.') ? 'EINVAL' : 'EBUSY')
    this.#writable()
    if (!inode) refuse('ENOENT')
    if (inode === this.volume) refuse('EBUSY')
    this.#removable(inode)
    if (inode.kind !== 'folder') refuse('ENOTDIR')
    if (inode.now.size > 0) refuse('ENOTEMPTY')
    this.#rename(parent, [[name, undefined]])
  }

  rename(from: string, to: string): void {
    const old = this.find(from, false)
    const next = this.find(to, false)
    if (old.parent.dev !== next.parent.dev) refuse('EXDEV')
    if (old.name === '' || next.name === '') refuse('EBUSY')
    this.#writable()
    const { inode } = old
    if (!inode) refuse('ENOENT')
    if (inode.kind === 'folder' && `${next.path}/`.startsWith(`${old.path}/`) && next.path !== old.path) {
      refuse('EINVAL')
    }
    if (next.inode?.kind === 'folder' && `${old.path}/`.startsWith(`${next.path}/`) && next.path !== old.path) {
      refuse('ENOTEMPTY')
    }
    if (inode === next.inode) return
    this.#removable(inode)
    if (next.inode) {
      this.#removable(next.inode)
      if (inode.kind === 'folder' && next.inode.kind !== 'folder') refuse('ENOTDIR')
      if (inode.kind !== 'folder' && next.inode.kind === 'folder') refuse('EISDIR')
    }
    for (const one of [inode, next.inode]) {
      if (one && (one === this.volume || one === this.#mountPoint || one.guard === 'mounted alone')) refuse('EBUSY')
    }
    if (next.inode?.kind === 'folder' && next.inode.now.size > 0) refuse('ENOTEMPTY')
    inode.changed = this.now
    if (old.parent === next.parent) {
      this.#rename(old.parent, [
        [old.name, undefined],
        [next.name, inode],
      ])
    } else {
      this.#rename(next.parent, [[next.name, inode]])
      this.#rename(old.parent, [[old.name, undefined]])
    }
  }

  symlink(target: string, path: string): void {
    if (target === '') refuse('ENOENT')
    const { parent, name } = this.#vacant(path)
    this.#unlocked()
    if (this.condition.full && Buffer.byteLength(target) > LONGEST_IN_INODE) refuse('ENOSPC')
    const link = new Link(++this.#inodes, parent.dev, 0o777, this.now)
    link.target = target
    this.#rename(parent, [[name, link]])
  }

  mkdir(path: string, mode: number): void {
    const { parent, name } = this.#vacant(path)
    this.#unlocked()
    if (this.condition.full) refuse('ENOSPC')
    this.#rename(parent, [[name, this.#folder(parent.dev, mode)]])
  }

  /** A place where nothing is, to make something there. */
  #vacant(path: string): Place {
    const place = this.find(path, false)
    if (place.inode) refuse('EEXIST')
    this.#writable()
    return place
  }

  #removable({ guard }: Inode): void {
    this.#unlocked()
    if (guard && guard !== 'mounted alone') refuse('EPERM')
  }

  #writable(): void {
    if (this.condition.readOnly) refuse('EROFS')
  }

  #unlocked(): void {
    if (this.condition.locked) refuse('EACCES')
  }

  /** Puts names, or takes them away, in one step. */
  #rename(folder: Folder, names: [string, Inode | undefined][]): void {
    for (const [name, inode] of names) {
      const before = folder.now.get(name)
      if (before) before.links--
      if (inode) inode.links++
    }
    this.#touch(folder)
    this.#change(folder, {
      apply(now) {
        for (const [name, inode] of names) {
          if (inode) now.set(name, inode)
          else now.delete(name)
        }
        return now
      },
    })
  }

  // Files

  open(path: string, flags: number, mode: number): Handle {
    const exclusive = (flags & (O_CREAT | O_EXCL)) === (O_CREAT | O_EXCL)
    const { parent, name, inode: found } = this.find(path, !exclusive && !(flags & O_NOFOLLOW))
    const writes = (flags & O_ACCMODE) !== O_RDONLY
    let inode = found
    if (!inode) {
      if (!(flags & O_CREAT)) refuse('ENOENT')
      this.#writable()
      this.#unlocked()
      inode = this.#file(parent.dev, mode)
      this.#rename(parent, [[name, inode]])
    } else {
      if (exclusive) refuse('EEXIST')
      if (inode.kind === 'link') refuse(flags & O_DIRECTORY ? 'ENOTDIR' : 'ELOOP')
      if (inode.kind === 'folder' && (writes || flags & O_CREAT)) refuse('EISDIR')
      if (flags & O_DIRECTORY && inode.kind !== 'folder') refuse('ENOTDIR')
      const { guard } = inode
      if (guard?.startsWith('foreign') && flags & O_CREAT) refuse('EACCES')
      if (writes) {
        if (guard === 'foreign, unwritable') refuse('EACCES')
        this.#writable()
        if (guard === 'immutable') refuse('EPERM')
      }
      if (flags & O_TRUNC && writes && inode.kind === 'file') this.#resize(inode, 0)
    }
    return { inode, flags, position: 0 }
  }

  /** @returns the bytes from `position` on, all of them if `length` is undefined */
  read(handle: Handle, length?: number, position?: number | null): Buffer {
    const { inode } = handle
    if ((handle.flags & O_ACCMODE) === O_WRONLY) refuse('EBADF')
    if (inode.kind === 'folder') refuse('EISDIR')
    const at = position ?? handle.position
    const bytes = inode.now.subarray(at, length === undefined ? undefined : at + length)
    if (position == null) handle.position += bytes.length
    return bytes
  }

  /** @returns how many bytes were written: fewer than asked for where the disk has become full */
  write(handle: Handle, bytes: Buffer, position?: number | null): number {
    const { inode } = handle
    if ((handle.flags & O_ACCMODE) === O_RDONLY || inode.kind === 'folder') refuse('EBADF')
    const at = handle.flags & O_APPEND ? inode.now.length : (position ?? handle.position)
    if (bytes.length === 0) return 0
    this.#writable()
    if (inode.guard === 'immutable') refuse('EPERM')
    let count = bytes.length
    if (this.condition.full) {
      count = Math.min(count, Math.ceil(inode.now.length / BLOCK) * BLOCK - at)
      if (count <= 0) refuse('ENOSPC')
    }
    const written = Buffer.from(bytes.subarray(0, count))
    this.#touch(inode)
    this.#change(inode, {
      apply: (now) => spliced(now, written, at),
      torn: (now, share) => spliced(now, written.subarray(0, Math.floor(share * count)), at),
    })
    if (position == null || handle.flags & O_APPEND) handle.position = at + count
    return count
  }

  truncate({ inode, flags }: Handle, length: number): void {
    if ((flags & O_ACCMODE) === O_RDONLY || inode.kind === 'folder') refuse('EINVAL')
    this.#writable()
    if (inode.guard === 'immutable') refuse('EPERM')
    this.#resize(inode, length)
  }

  #resize(file: File, length: number): void {
    this.#touch(file)
    this.#change(file, { apply: (now) => spliced(now.subarray(0, length), NOTHING, length) })
  }

  // Attributes

  chmod(inode: Inode, mode: number): void {
    this.#owned(inode)
    inode.mode = (inode.mode & ~0o7777) | (mode & 0o7777)
    inode.changed = this.now
  }

  /** @param accessed, modified ms since 1970 */
  utimes(inode: Inode, accessed: number, modified: number): void {
    this.#owned(inode)
    this.#touch(inode, modified)
    inode.accessed = accessed
  }

  #owned({ guard }: Inode): void {
    this.#writable()
    if (guard && guard !== 'mounted alone') refuse('EPERM')
  }

  #touch(inode: Inode, modified = this.now): void {
    inode.keptModified ??= inode.modified
    inode.modified = modified
    inode.changed = this.now
    this.#dirty.add(inode)
    if (this.#dirty.size > MOST_DIRTY) for (const one of this.#dirty) if (one.links === 0) this.#dirty.delete(one)
  }

  // What lasts

  flush(inode: File | Folder): void {
    if (inode.kind === 'file' && !inode.differs) {
      inode.kept = inode.now
      inode.pending = []
    } else {
      this.#keep(inode as Folder, inode.pending.length)
    }
    inode.keptModified = undefined
    if (!inode.differs) this.#dirty.delete(inode)
  }

  /** The flush has failed, and the next one will not know of it. */
  forget(inode: File | Folder): void {
    for (const change of inode.pending) change.forgotten = true
    inode.differs = true
  }

  /** Everything that was not flushed is on the disk, or is not, or a part of it; in the order in which it was done. */
  powerLoss(): void {
    const random = this.#random
    for (const inode of this.#dirty) {
      if (inode.kind !== 'link') inode.differs = false
      if (inode.keptModified !== undefined && random.chance(0.5)) inode.modified = inode.keptModified
      inode.keptModified = undefined
      if (inode.kind === 'file') {
        const last = this.#keepSome(inode)
        if (last?.torn && random.chance(0.5)) inode.kept = last.torn(inode.kept, random.next())
        else if (last && random.chance(0.3)) {
          // The new size has reached the disk, and the bytes have not.
          inode.kept = spliced(inode.kept, NOTHING, last.apply(inode.kept).length)
        }
        inode.now = inode.kept
      } else if (inode.kind === 'folder') {
        this.#keepSome(inode)
        inode.now = new Map(inode.kept)
      }
    }
    this.#dirty.clear()
    const reached = new Map<Inode, number>()
    for (const { now } of [this.volume, ...reachable(this.volume)]) {
      for (const inode of now.values()) reached.set(inode, (reached.get(inode) ?? 0) + 1)
    }
    for (const [inode, links] of reached) inode.links = inode.kind === 'folder' ? 1 : links
  }

  /** @returns the first change that is lost, if one is */
  #keepSome<T>(inode: Kept<T>): Change<T> | undefined {
    const count = this.#random.below(inode.pending.length + 1)
    const lost = inode.pending[count]
    this.#keep(inode, count)
    inode.pending = []
    return lost?.forgotten ? undefined : lost
  }

  #keep<T>(inode: Kept<T>, count: number): void {
    const changes = count === inode.pending.length ? inode.pending : inode.pending.slice(0, count)
    for (const change of changes) if (!change.forgotten) inode.kept = change.apply(inode.kept)
    inode.pending = inode.pending.slice(count)
  }

  #change<T>(inode: Kept<T>, change: Change<T>): void {
    inode.now = change.apply(inode.now)
    inode.pending.push(change)
    if (inode.pending.length > MOST_PENDING) this.#keep(inode, MOST_PENDING / 2)
  }

  // People, who are root, know how to lift a guard, and flush

  /** In place where a guard asks for it, otherwise as a new file. */
  place(parent: Folder, name: string, content: string): void {
    const found = parent.now.get(name)
    const file = found?.kind === 'file' && found.guard ? found : this.#file(parent.dev, 0o600)
    file.now = Buffer.from(content)
    file.kept = file.now
    file.pending = []
    file.differs = false
    this.#touch(file)
    this.flush(file)
    if (file !== found) this.#rename(parent, [[name, file]])
    this.flush(parent)
  }

  discard(parent: Folder, names: Iterable<string>): void {
    this.#rename(
      parent,
      Array.from(names, (name) => [name, undefined]),
    )
    this.flush(parent)
  }

  #file(dev: number, mode: number): File {
    return new File(++this.#inodes, dev, mode, this.now)
  }

  #folder(dev: number, mode: number): Folder {
    return new Folder(++this.#inodes, dev, mode, this.now)
  }
}

function partsOf(path: string): string[] {
  if (path === '') refuse('ENOENT')
  return path.split('/').filter(Boolean)
}

/** A copy, in which `bytes` are at `at`, after zeros where it was shorter. */
function spliced(before: Buffer, bytes: Buffer, at: number): Buffer {
  const end = at + bytes.length
  if (at === 0 && end >= before.length) return bytes
  if (bytes.length === 0 && at === before.length) return before
  const after = Buffer.alloc(Math.max(before.length, end))
  before.copy(after)
  bytes.copy(after, at)
  return after
}

function* reachable(folder: Folder): Generator<Folder> {
  for (const inode of folder.now.values()) {
    if (inode.kind !== 'folder') continue
    yield inode
    yield* reachable(inode)
  }
}
