import type { Driver, Storage } from 'unstorage'
import type { TokenStore } from './store'

/** Options of a driver's setItemRaw and setItem. */
export interface WriteOptions {
  /** As TokenStore's: write only if this is what is stored. */
  onlyIf?: string | null
}

/** The part of unstorage that is spoken. Its getItem and setItem parse and print what looks like JSON; these do not. */
type Mounted = Pick<Storage, 'getItemRaw' | 'setItemRaw' | 'removeItem' | 'getKeys'>

/**
 * A store as unstorage mounts it.
 * @param dispose called when it is unmounted
 */
export function asDriver(name: string, store: TokenStore, dispose = () => {}): Driver {
  const read = (key: string) => store.read(key)
  const write = (key: string, value: string, { onlyIf }: WriteOptions = {}) => store.write(key, value, onlyIf)
  return {
    name,
    hasItem: async (key) => (await store.read(key)) !== null,
    getItem: read,
    getItemRaw: read,
    setItem: write,
    setItemRaw: write,
    removeItem: (key) => store.remove(key),
    getKeys: () => store.keys(),
    dispose,
  }
}

/** What `asDriver` has mounted, as a store. */
export function throughMount(storage: Mounted): TokenStore {
  return {
    read: (key) => storage.getItemRaw<string>(key),
    write: (key, value, onlyIf) => storage.setItemRaw(key, value, { onlyIf } satisfies WriteOptions),
    remove: (key) => storage.removeItem(key),
    keys: () => storage.getKeys(),
  }
}
