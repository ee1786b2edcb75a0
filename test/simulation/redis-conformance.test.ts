import type { Redis } from 'ioredis'
import { expect, it, vi } from 'vitest'
import type { Backend } from '../../storage'
import { openRedis } from '../../storage/redis'
import { openUpstash } from '../../storage/upstash'
import { leaseConformance } from '../storage/lease-conformance'
import { storeConformance } from '../storage/store-conformance'
import { immediateCaller } from './caller'
import { createRandom } from './random'
import { createRedis } from './redis'

/** The production code over the simulated Redis: what it is built on must not show. */
const parts = vi.hoisted(() => ({}) as { Redis: unknown; ofetch: unknown })
vi.mock('ioredis', () => ({
  get Redis() {
    return parts.Redis as typeof Redis
  },
}))
vi.mock('ofetch', () => ({
  get ofetch() {
    return parts.ofetch
  },
}))

const redis = createRedis(createRandom(1), Date.now)
parts.Redis = redis.clientClass(immediateCaller())
parts.ofetch = redis.upstash(immediateCaller())

const environment = 'test'
const none = 'a simulated Redis is in one process'
const WAYS: [string, (environment: string) => Backend][] = [
  ['Redis', (environment) => openRedis('redis://127.0.0.1:6379', environment)],
  ['Upstash', (environment) => openUpstash({ url: 'https://upstash.invalid', token: 'token' }, environment)],
]

for (const [name, open] of WAYS) {
  let stores = 0
  storeConformance(`simulated ${name}`, () => {
    const { store, close } = open(`${environment}-${name}-${++stores}`)
    return { store, end: () => close?.() }
  })

  leaseConformance(`simulated ${name}`, () => {
    const backend = open(`${environment}-${name}-${++stores}`)
    return {
      here: () => backend.lease('token'),
      other: () => backend.lease('journal'),
      elsewhere: { none },
      end: () => backend.close?.(),
    }
  })

  it(`simulated ${name}: fails in the service's own words`, async () => {
    const { store, close } = open(environment)
    const key = '.yoto_refresh_token'
    const read = async () => store.read(key)
    redis.faults.away = 'refused'
    await expect(read()).rejects.toMatchObject({ message: expect.stringContaining('cannot be reached: ECONNREFUSED') })
    redis.faults.away = false
    redis.faults.full = true
    await expect(store.write(key, 'x')).rejects.toThrow('is full (maxmemory)')
    redis.faults.full = false
    redis.putList(`${environment}:${key}`)
    await expect(read()).rejects.toMatchObject({ code: 'unusable', message: expect.stringContaining('is not a text') })
    redis.flushAll()
    close?.()
    expect(redis.lacks).toEqual([])
  })
}
