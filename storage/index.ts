import type { Driver } from 'unstorage'
import type { Check } from './checks/check'
import type { UpstashOptions } from './commands/upstash'
import type { Durability } from './durability/durability'
import type { Lease } from './lease'
import type { TokenStore } from './store'
import type { ObjectStorage } from './stores/durable-object'
import { encrypted } from './stores/encrypted'
import { asDriver } from './unstorage'

export type { Check, Finding } from './checks/check'
export type { Durability } from './durability/durability'
export { isStorageError, StorageError } from './errors'
export type { HeldLease, Lease } from './lease'
export type { TokenStore } from './store'
export type { ObjectStorage } from './stores/durable-object'
export { throughMount } from './unstorage'

/** Where state lives on this platform, and how one instance at a time gets the right to change it. */
export interface Backend {
  store: TokenStore
  /** A lease over all instances on this store; those of different names have nothing to do with each other. */
  lease(name: string): Lease
  /** Where that is, in words for people. */
  place: string
  /** Milliseconds between two looks for a change made from outside. */
  watchInterval: number
  /** Removes what a crash left behind; to be called by the lease holder. */
  removeLeftovers(): Promise<void>
  /** What the doctor looks at here. */
  checks: readonly Check[]
  /** Asks how durable it is, where that depends on how somebody has set it up. Rejects with StorageError when it cannot be asked. */
  durability?(): Promise<Durability>
  /** Ends its connection, where it has one. */
  close?(): void
}

export interface BackendOptions {
  /** The folder for files. */
  dir: string
  /** Files last on a mounted volume only. */
  needsVolume: boolean
  redisUrl?: string
  upstash?: UpstashOptions
  /** The environment's name: what keys begin with in a store that others may use as well. */
  environment: string
  /** Within a Cloudflare Durable Object: its storage. */
  objectStorage?: ObjectStorage
  /** Keys that are written under the lease only, and must not be lost. */
  leasedKeys: readonly string[]
  /** What is stored is encrypted with the first; empty: plain. */
  encryptionKeys: readonly string[]
}

/**
 * The platform's backend, encrypted where there is a key.
 * @returns with its store as `driver`, to be mounted as `tokens`; undefined on a platform that has no durable store of its own, if
 *   none is set
 */
export async function openBackend(options: BackendOptions): Promise<(Backend & { driver: Driver }) | undefined> {
  const backend = await pickBackend(options)
  if (!backend) return undefined
  const store = encrypted(backend.store, options.encryptionKeys)
  return { ...backend, store, driver: asDriver('encrypted', store, backend.close) }
}

/**
 * Picks store and lease for the platform. `import.meta.preset` is replaced at build time: the conditions must stay as plain as they
 * are, or other platforms' stores land in the bundle.
 */
async function pickBackend(options: BackendOptions): Promise<Backend | undefined> {
  const { redisUrl, upstash, environment } = options
  if (
    import.meta.preset === 'node-server' ||
    import.meta.preset === 'node-cluster' ||
    import.meta.preset === 'bun' ||
    import.meta.preset === 'deno-server' ||
    import.meta.dev
  ) {
    if (redisUrl) return (await import('./redis')).openRedis(redisUrl, environment, options.leasedKeys)
    if (upstash) return (await import('./upstash')).openUpstash(upstash, environment)
    return (await import('./files')).openFiles(options)
  }
  if (import.meta.preset === 'cloudflare-durable') {
    return options.objectStorage && (await import('./durable-object')).openDurableObject(options.objectStorage)
  }
  if (import.meta.preset === 'cloudflare-module' || import.meta.preset === 'cloudflare-pages') return undefined
  // Functions: no disk, and no connection that lasts.
  if (upstash) return (await import('./upstash')).openUpstash(upstash, environment)
  if (redisUrl) return (await import('./redis')).openRedis(redisUrl, environment, options.leasedKeys)
  return undefined
}
