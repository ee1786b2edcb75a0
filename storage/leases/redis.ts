import type { Command } from '../command'
import { StorageError } from '../errors'
import type { HeldLease, Lease } from '../lease'
import { waitBy } from './wait'

/** Milliseconds between two beats of a holder. */
const BEAT = 1_000
/** Milliseconds after its holder's last beat at which the lease is free. */
const LIFETIME = 5_000
/** Milliseconds between two looks of somebody who waits. */
const LOOK = 100

export const RENEW = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`

export const RELEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`

/**
 * A lease over everybody on one Redis: a key that expires, with the random id of the term that it stands for (redis.io: SET NX PX).
 *
 * Redis counts the time, so no clock of ours matters. A primary that dies may take the lease with it, as it replicates afterwards;
 * then there are two holders for a moment, of whom the later one finds that its conditional write is a conflict.
 */
export function redisLease(run: Command, key: string): Lease {
  /** One whose answer is lost is nobody's, and runs out. */
  async function tryAcquire(): Promise<HeldLease | undefined> {
    const id = crypto.randomUUID()
    const taken = await run('SET', key, id, 'NX', 'PX', LIFETIME)
    return taken === 'OK' ? hold(id) : undefined
  }

  function hold(id: string): HeldLease {
    const renew = () => run('EVAL', RENEW, 1, key, id, LIFETIME)
    const timer = setInterval(() => {
      renew().catch(() => {}) // check() tells whether it matters
    }, BEAT)
    ;(timer as { unref?: () => void }).unref?.()
    return {
      async check() {
        if ((await renew()) !== 1) throw new StorageError('lease_lost', 'another instance has taken over')
      },
      async release() {
        clearInterval(timer)
        await run('EVAL', RELEASE, 1, key, id).catch(() => {})
      },
    }
  }

  return { tryAcquire, acquire: waitBy(tryAcquire, LOOK) }
}
