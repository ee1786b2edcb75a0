import { StorageError, type TokenStore } from '../../storage'

/** A store that ends with the test. */
export function memoryStore(): TokenStore {
  const values = new Map<string, string>()
  return {
    read: async (key) => values.get(key) ?? null,
    async write(key, value, onlyIf) {
      const current = values.get(key) ?? null
      if (onlyIf !== undefined && current !== onlyIf && current !== value) {
        throw new StorageError('conflict', `${key} was ${current === null ? 'removed' : 'replaced'} meanwhile`)
      }
      values.set(key, value)
    },
    async remove(key) {
      values.delete(key)
    },
    keys: async () => [...values.keys()],
  }
}
