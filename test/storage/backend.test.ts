import { describe, expect, it } from 'vitest'
import { openBackend } from '../../storage'

// Outside a build there is no preset, as on a platform of functions. What the others pick is seen with the built server.

const OPTIONS = { dir: '/nowhere', needsVolume: false, environment: 'test', leasedKeys: [], encryptionKeys: [] }
const REDIS = { redisUrl: 'rediss://me:hush@redis.example' }
const UPSTASH = { upstash: { url: 'https://upstash.example', token: 'hush' } }

describe('openBackend on a platform of functions', () => {
  it.each([
    ['Upstash', UPSTASH, 'Upstash at upstash.example'],
    ['Redis', REDIS, 'Redis at redis.example:6379'],
    ['Upstash, if both are set', { ...REDIS, ...UPSTASH }, 'Upstash at upstash.example'],
  ])('picks %s', async (_, store, place) => {
    expect((await openBackend({ ...OPTIONS, ...store }))?.place).toBe(place)
  })

  it('picks nothing where nothing is set', async () => {
    expect(await openBackend(OPTIONS)).toBeUndefined()
  })

  it('closes nothing that was never opened, and encrypts what it is given a key for', async () => {
    const backend = await openBackend({ ...OPTIONS, ...REDIS, encryptionKeys: ['x'.repeat(32)] })
    expect(backend?.driver.name).toBe('encrypted')
    await backend?.driver.dispose?.()
  })
})
