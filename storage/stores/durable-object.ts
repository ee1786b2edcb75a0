import { StorageError } from '../errors'
import type { TokenStore } from '../store'

/** The part of a Durable Object's `state.storage` that is used; `kv` is there in objects with SQLite storage only. */
export interface ObjectStorage {
  kv: {
    get(key: string): unknown
    put(key: string, value: string): void
    delete(key: string): boolean
    list(): Iterable<[string, unknown]>
  }
  /** Resolves when everything written so far is durable. */
  sync(): Promise<void>
  getAlarm(): Promise<number | null>
  setAlarm(time: number): Promise<void>
  deleteAlarm(): Promise<void>
}

/** As in durable-files.ts. Cloudflare takes 2 MB a value, in its own encoding. */
const LARGEST_VALUE = 1024 * 1024

/**
 * One value a key in a Durable Object's own storage, each durable before its write resolves.
 *
 * The synchronous interface is used, so that nothing of the object runs between the comparison and the replacement. unstorage's own
 * drivers for Cloudflare are made for a Worker that calls an object or KV, and write unconditionally.
 */
export function durableObject(storage: ObjectStorage): TokenStore {
  async function read(key: string): Promise<string | null> {
    const value = await attempt(`cannot read ${key}`, () => storage.kv.get(key) ?? null)
    if (value !== null && typeof value !== 'string') throw new StorageError('unusable', `${key} is not text`)
    return value
  }

  async function write(key: string, value: string, onlyIf?: string | null): Promise<void> {
    if (new TextEncoder().encode(value).length > LARGEST_VALUE) {
      throw new StorageError('unusable', `${key} would be larger than 1 MiB`)
    }
    await attempt(`cannot write ${key}`, () => {
      if (onlyIf !== undefined) compare(key, storage.kv.get(key) ?? null, onlyIf, value)
      storage.kv.put(key, value)
      return storage.sync()
    })
  }

  return {
    read,
    write,
    remove: (key) =>
      attempt(`cannot remove ${key}`, () => {
        storage.kv.delete(key)
        return storage.sync()
      }),
    keys: () => attempt('cannot list what is stored', () => Array.from(storage.kv.list(), ([key]) => key)),
  }
}

function compare(key: string, current: unknown, expected: string | null, value: string): void {
  // A write that is repeated finds its own value.
  if (current === expected || current === value) return
  throw new StorageError('conflict', `${key} was ${current === null ? 'removed' : 'replaced'} meanwhile`)
}

async function attempt<T>(what: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof StorageError) throw error
    throw new StorageError('unavailable', `${what} in the Durable Object: ${(error as Error).message}`)
  }
}
