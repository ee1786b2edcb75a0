import { randomBytes } from 'node:crypto'
import { constants, linkSync, readFileSync, renameSync, unlinkSync } from 'node:fs'
import { lstat, open, readdir, readFile, readlink, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileError, isStorageError, StorageError } from '../errors'
import { neitherHint } from '../irreplaceable'
import type { TokenStore } from '../store'
import { isUnfinished, type Journal, parseJournal, valueIn, writeInPlace } from './in-place'

/** More than anything that is kept here needs; a larger file is not one of ours. */
const LARGEST_VALUE = 1024 * 1024

const TEMPORARY = /^\.yoto_.*\.[0-9a-f]{16}\.tmp$/
const JOURNAL = /\.in_place\.[0-9a-f]{16}\.tmp$/

/** Said where a name may not be given to another file, or none be made: it is mounted, somebody else's, or immutable, or its folder is. */
const IRREPLACEABLE = ['EBUSY', 'EXDEV', 'EPERM', 'EACCES']

/**
 * One file a key, in one folder, each value durable before its write resolves.
 *
 * A value is written to a temporary file beside its target (0600 from the moment it exists), flushed, renamed over the target,
 * and the folder is flushed: after a crash a reader finds the old value or the new one, whole. A target that is a symbolic link
 * stays one. write-file-atomic does not flush the folder, and nothing that was found writes conditionally.
 *
 * Where a file cannot be replaced or removed, but can be written, that is done in place. Whoever reads it at that moment may see a value
 * with white space behind it, or a part of one that is larger than a page of memory.
 *
 * @param dir the folder that holds the files; it must exist
 */
export function durableFiles(dir: string): TokenStore {
  const pathOf = (key: string) => {
    if (!/^[\w.-]+$/.test(key)) throw new TypeError(`not a key of this store: ${key}`)
    return join(dir, key)
  }

  async function read(key: string): Promise<string | null> {
    const path = pathOf(key)
    try {
      const found = await stat(path)
      if (!found.isFile()) throw notAFile(key, found.isDirectory() ? 'a directory' : 'not a regular file')
      if (found.size > LARGEST_VALUE) throw notAFile(key, 'larger than 1 MiB')
      return valueIn(await readFile(path, 'utf8'))
    } catch (error) {
      if (hasCode(error, 'ENOENT') && (await folderExists(dir))) return null
      throw asStorageError(error, 'read', key, dir)
    }
  }

  async function write(key: string, value: string, onlyIf?: string | null): Promise<void> {
    try {
      const target = await followLinks(pathOf(key))
      try {
        await replace(target, key, value, onlyIf)
      } catch (error) {
        await requireWritable(target, key, 'write', error)
        return await overwrite(target, key, value, onlyIf)
      }
      await flushFolder(dirname(target))
    } catch (error) {
      throw asStorageError(error, 'write', key, dir)
    }
  }

  async function replace(target: string, key: string, value: string, onlyIf?: string | null): Promise<void> {
    const temporary = temporaryOf(target)
    try {
      await writeFlushed(temporary, value)
      const current = onlyIf === undefined ? undefined : readNow(target)
      requireExpected(current, key, value, onlyIf)
      if (current === null) createExclusively(temporary, target, key)
      else renameSync(temporary, target)
    } catch (error) {
      await unlink(temporary).catch(() => {})
      throw error
    }
  }

  async function overwrite(target: string, key: string, value: string, onlyIf?: string | null): Promise<void> {
    const before = await readFile(target, 'utf8')
    requireExpected(before, key, value, onlyIf)
    const journal = await writeJournal(key, { before, after: value })
    try {
      writeInPlace(target, value, (current) => requireExpected(current, key, value, onlyIf))
    } catch (error) {
      const isAsItWas = isStorageError(error, 'conflict') || (await readFile(target, 'utf8').catch(() => '')) === before
      if (journal && isAsItWas) await unlink(journal).catch(() => {})
      throw error
    }
    if (journal) await unlink(journal).catch(() => {})
  }

  /** Undefined where nothing can be written beside the file. */
  async function writeJournal(key: string, journal: Journal): Promise<string | undefined> {
    const path = temporaryOf(join(dir, `${key}.in_place`))
    try {
      await writeFlushed(path, JSON.stringify(journal))
      await flushFolder(dir)
      return path
    } catch (error) {
      if (hasCode(error, ...IRREPLACEABLE)) return undefined
      await unlink(path).catch(() => {})
      throw error
    }
  }

  async function remove(key: string): Promise<void> {
    try {
      const target = await followLinks(pathOf(key))
      try {
        await unlink(target)
      } catch (error) {
        await requireWritable(target, key, 'remove', error)
        return writeInPlace(target, null, () => {})
      }
      await flushFolder(dirname(target))
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw asStorageError(error, 'remove', key, dir)
    }
  }

  /** Where it cannot be replaced or removed, as `refused` says: can it be written? Throws the one or the other. */
  async function requireWritable(target: string, key: string, what: 'write' | 'remove', refused: unknown) {
    if (!hasCode(refused, ...IRREPLACEABLE)) throw refused
    const file = await open(target, 'r+').catch((error) => {
      throw asStorageError(refused, what, key, dir, neitherHint(target, codeOf(refused), codeOf(error)))
    })
    const found = await file.stat().finally(() => file.close())
    if (!found.isFile()) throw refused
    if (found.size > LARGEST_VALUE) throw notAFile(key, 'larger than 1 MiB')
  }

  return {
    read,
    write,
    remove,
    async keys() {
      const names = (await list(dir)).filter((name) => name.startsWith('.yoto_') && !TEMPORARY.test(name))
      const values = await Promise.all(names.map((name) => read(name).catch(() => 'something')))
      return names.filter((_, index) => values[index] !== null)
    },
  }
}

/**
 * Removes temporary files that a crash left behind, and finishes what it cut short in a file that cannot be replaced. Only the lease
 * holder may call it, since `leased` keys are written under the lease alone; the others' are removed once they are a minute old.
 */
export async function removeLeftovers(dir: string, leased: readonly string[]): Promise<void> {
  for (const name of await list(dir)) {
    if (!TEMPORARY.test(name)) continue
    const path = join(dir, name)
    const old = async () => Date.now() - (await stat(path)).mtimeMs > 60_000
    const key = leased.find((one) => name.startsWith(`${one}.`))
    if (key === undefined ? await old().catch(() => false) : await finishWrite(dir, key, path).catch(() => false)) {
      await unlink(path).catch(() => {})
    }
  }
}

async function list(dir: string): Promise<string[]> {
  return readdir(dir).catch((error) => {
    throw fileError(error, `cannot list ${dir}`)
  })
}

/** Where the leftover is a journal, and what it is of did not end. True when nothing is to be done about it any more. */
async function finishWrite(dir: string, key: string, path: string): Promise<true> {
  const journal = JOURNAL.test(path) ? parseJournal(await readFile(path, 'utf8')) : undefined
  if (!journal) return true
  const store = durableFiles(dir)
  const found = await store.read(key)
  if (found !== null && isUnfinished(found, journal)) await store.write(key, journal.after, found)
  return true
}

function temporaryOf(path: string): string {
  return `${path}.${randomBytes(8).toString('hex')}.tmp`
}

async function writeFlushed(path: string, value: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
  try {
    await file.writeFile(value, 'utf8')
    await file.sync()
  } finally {
    await file.close()
  }
}

/** rename() is durable only after the folder has been flushed (fsync(2)). File systems that cannot do that say EINVAL. */
async function flushFolder(dir: string): Promise<void> {
  const folder = await open(dir, constants.O_RDONLY)
  try {
    await folder.sync()
  } catch (error) {
    if (!hasCode(error, 'EINVAL', 'ENOTSUP')) throw error
  } finally {
    await folder.close()
  }
}

/** Synchronous, and directly before the rename: nothing of this process runs between the comparison and the replacement. */
function readNow(target: string): string | null {
  try {
    return readFileSync(target, 'utf8')
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null
    throw error
  }
}

function requireExpected(text: string | null | undefined, key: string, value: string, expected?: string | null): void {
  if (text === undefined || expected === undefined) return
  const current = text === null ? null : valueIn(text)
  // A write repeated after its folder could not be flushed finds its own value.
  if (current !== expected && current !== value) {
    throw new StorageError('conflict', `${key} was ${current === null ? 'removed' : 'replaced'} meanwhile`)
  }
}

/** Where nothing may be replaced: link(2) refuses an existing target, so of several processes one succeeds. */
function createExclusively(temporary: string, target: string, key: string): void {
  try {
    linkSync(temporary, target)
  } catch (error) {
    if (hasCode(error, 'EEXIST')) throw new StorageError('conflict', `${key} was created meanwhile`)
    // A file system without hard links.
    if (!hasCode(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) throw error
    renameSync(temporary, target)
    return
  }
  unlinkSync(temporary)
}

/** Where writing to `path` must end so that symbolic links, dangling ones too, stay what they are. */
async function followLinks(path: string, hops = 0): Promise<string> {
  const found = await lstat(path).catch((error) => {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  })
  if (!found?.isSymbolicLink() || hops > 8) return path
  return followLinks(resolve(dirname(path), await readlink(path)), hops + 1)
}

async function folderExists(dir: string): Promise<boolean> {
  return stat(dir).then(
    (found) => found.isDirectory(),
    () => false,
  )
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException)?.code ?? ''
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes(codeOf(error))
}

function notAFile(key: string, what: string): StorageError {
  return new StorageError('unusable', `${key} is ${what}`, `Move ${key} away; it is left as it is.`)
}

function asStorageError(
  error: unknown,
  what: 'read' | 'write' | 'remove',
  key: string,
  dir: string,
  hint?: string,
): StorageError {
  return fileError(error, `cannot ${what} ${basename(key)} in ${dir}`, hint)
}
