import { StorageError, sentence } from '../errors'
import type { TokenStore } from '../store'
import type { Check, Finding } from './check'

const PROBE = '.yoto_doctor'
/** Another instance's doctor uses the same key, so that none is left over for ever; of one that is in the way, the next try is free. */
const TRIES = 3

/** Writes a value of its own the way tokens are written, reads it back and removes it. Nothing else reads that key. */
export function writable(store: TokenStore, place: string): Check {
  async function roundTrip(): Promise<boolean> {
    const value = crypto.randomUUID()
    await store.write(PROBE, value)
    const found = await store.read(PROBE)
    await store.remove(PROBE)
    return found === value
  }

  async function look(): Promise<Finding> {
    try {
      for (let tries = 0; tries < TRIES; tries++) {
        if (await roundTrip()) return { ok: true, message: `A value was written, read back and removed in ${place}.` }
      }
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      return { ok: false, message: sentence(error.message), hint: error.hint ?? `Move ${PROBE} away.` }
    }
    return {
      ok: false,
      message: `What was written in ${place} was not what was read back.`,
      hint: 'See that nothing else writes there: DATA_DIR, REDIS_URL or UPSTASH_REDIS_REST_URL says where it is.',
    }
  }

  return { name: 'writable', look }
}
