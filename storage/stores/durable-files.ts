import { randomBytes } from 'node:crypto'
import { constants, linkSync, readFileSync, renameSync, unlinkSync } from 'node:fs'
import { lstat, open, readdir, readFile, readlink, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileError, StorageError } from '../errors'
import type { TokenStore } from '../store'

/** More than anything that is kept here needs; a larger file is not one of ours. */
const LARGEST_VALUE = 1024 * 1024

const TEMPORARY = /^\.yoto_.*\.[0-9a-f]{16}\.tmp$/

/**
 * One file a key, in one folder, each value durable before its write resolves.
 *
 * A value is written to a temporary file beside its target (0600 from the moment it exists), flushed, renamed over the target,
 * and the folder is flushed: after a crash a reader finds the old value or the new one, whole. A target that is a symbolic link
 * stays one. write-file-atomic does not flush the folder, and nothing that was found writes conditionally.
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
      return await readFile(path, 'utf8')
    } catch (error) {
      if (hasCode(error, 'ENOENT') && (await folderExists(dir))) return null
      throw asStorageError(error, 'read', key, dir)
    }
  }

  async function write(key: string, value: string, onlyIf?: string | null): Promise<void> {
    try {
      const target = await followLinks(pathOf(key))
      const temporary = `${target}.${randomBytes(8).toString('hex')}.tmp`
      try {
        await writeFlushed(temporary, value)
        const current = onlyIf === undefined ? undefined : readExpected(target, key, onlyIf, value)
        if (current === null) createExclusively(temporary, target, key)
        else renameSync(temporary, target)
      } catch (error) {
        await unlink(temporary).catch(() => {})
        throw error
      }
      await flushFolder(dirname(target))
    } catch (error) {
      throw asStorageError(error, 'write', key, dir)
    }
  }

  return {
    read,
    write,
    async remove(key) {
      try {
        const target = await followLinks(pathOf(key))
        await unlink(target)
        await flushFolder(dirname(target))
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw asStorageError(error, 'remove', key, dir)
      }
    },
    async keys() {
      return (await list(dir)).filter((name) => name.startsWith('.yoto_') && !TEMPORARY.test(name))
    },
  }
}

/**
 * Removes temporary files that a crash left behind. Only the lease holder may call it, since `leased` keys are written under the
 * lease alone; the others' are removed once they are a minute old.
 */
export async function removeLeftovers(dir: string, leased: readonly string[]): Promise<void> {
  for (const key of await list(dir)) {
    if (!TEMPORARY.test(key)) continue
    const path = join(dir, key)
    const old = async () => Date.now() - (await stat(path)).mtimeMs > 60_000
    if (leased.some((name) => key.startsWith(`${name}.`)) || (await old().catch(() => false))) {
      await unlink(path).catch(() => {})
    }
  }
}

async function list(dir: string): Promise<string[]> {
  return readdir(dir).catch((error) => {
    throw fileError(error, `cannot list ${dir}`)
  })
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
function readExpected(target: string, key: string, expected: string | null, value: string): string | null {
  let current: string | null = null
  try {
    current = readFileSync(target, 'utf8')
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
  }
  // A write repeated after its folder could not be flushed finds its own value.
  if (current !== expected && current !== value) {
    throw new StorageError('conflict', `${key} was ${current === null ? 'removed' : 'replaced'} meanwhile`)
  }
  return current
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

function hasCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException)?.code ?? '')
}

function notAFile(key: string, what: string): StorageError {
  return new StorageError('unusable', `${key} is ${what}`, `Move ${key} away; it is left as it is.`)
}

function asStorageError(error: unknown, what: 'read' | 'write' | 'remove', key: string, dir: string): StorageError {
  return fileError(error, `cannot ${what} ${basename(key)} in ${dir}`)
}
