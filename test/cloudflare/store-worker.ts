import { StorageError } from '../../storage/errors'
import { durableObject, type ObjectStorage } from '../../storage/stores/durable-object'

/** A Worker whose Durable Objects hold stores, and do with them as store.test.ts says. */

export interface Call {
  /** Each name is a store of its own. */
  store: string
  what: 'read' | 'write' | 'remove' | 'keys' | 'race' | 'putNumber'
  key: string
  value: string
  onlyIf?: string | null
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

  private async carryOut({ what, key, value, onlyIf }: Call): Promise<unknown> {
    const { storage } = this.state
    const tokens = durableObject(storage)
    switch (what) {
      case 'read':
        return tokens.read(key)
      case 'write':
        return tokens.write(key, value, onlyIf)
      case 'remove':
        return tokens.remove(key)
      case 'keys':
        return tokens.keys()
      // Within the object, where nothing but the store keeps them apart.
      case 'race': {
        const writes = Array.from({ length: 20 }, (_, number) => tokens.write(key, `${number}`, value))
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
