import { createStorage, prefixStorage } from 'unstorage'
import durableObject, { type ObjectStorage } from '../../storage/drivers/durable-object'
import { StorageError } from '../../storage/errors'

/** A Worker whose Durable Objects hold stores, and do with them as store.test.ts says. */

export interface Call {
  /** Each name is a store of its own. */
  store: string
  what: 'getItemRaw' | 'setItemRaw' | 'removeItem' | 'getKeys' | 'race' | 'putNumber'
  key: string
  value: string
  options?: { onlyIf?: string | null }
}

export type Result = { value: unknown } | { error: { name: string; code: string; message: string } }

interface Namespace {
  idFromName(name: string): unknown
  get(id: unknown): { fetch(request: Request): Promise<Response> }
}

export default {
  async fetch(request: Request, env: { STORES: Namespace }): Promise<Response> {
    const { store } = (await request.clone().json()) as Call
    return env.STORES.get(env.STORES.idFromName(store)).fetch(request)
  },
}

export class Store {
  constructor(private readonly state: { storage: ObjectStorage }) {}

  async fetch(request: Request): Promise<Response> {
    const call = (await request.json()) as Call
    const result: Result = await this.carryOut(call).then(
      (value) => ({ value }),
      ({ name, code, message }) => ({ error: { name, code, message } }),
    )
    return Response.json(result)
  }

  private async carryOut({ what, key, value, options }: Call): Promise<unknown> {
    const { storage } = this.state
    const tokens = prefixStorage(createStorage().mount('tokens', durableObject({ storage })), 'tokens')
    switch (what) {
      case 'getItemRaw':
        return tokens.getItemRaw(key)
      case 'setItemRaw':
        return tokens.setItemRaw(key, value, options)
      case 'removeItem':
        return tokens.removeItem(key)
      case 'getKeys':
        return tokens.getKeys()
      // Within the object, where nothing but the driver keeps them apart.
      case 'race': {
        const writes = Array.from({ length: 20 }, (_, number) => tokens.setItemRaw(key, `${number}`, { onlyIf: value }))
        const outcomes = await Promise.allSettled(writes)
        return outcomes.map((one) => {
          if (one.status === 'fulfilled') return 'written'
          return one.reason instanceof StorageError ? one.reason.code : String(one.reason)
        })
      }
      case 'putNumber':
        return storage.kv.put(key, 1 as unknown as string)
    }
  }
}
