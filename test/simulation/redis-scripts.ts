import { RELEASE, RENEW } from '../../storage/leases/redis'
import { READ, WRITE_ONLY_IF } from '../../storage/stores/redis'
import type { Call, Reply } from './redis-server'

/** What a script of the service does, in other words; redis.test.ts compares each with the script itself in a real Redis. */
type Twin = (call: Call, keys: string[], args: string[]) => Reply

const LARGEST_VALUE = 1024 * 1024

/** Found by the whole text of the script. */
export const TWINS = new Map<string, Twin>([
  [READ, (call, [key = '']) => (Number(call('STRLEN', key)) > LARGEST_VALUE ? -1 : call('GET', key))],
  [
    WRITE_ONLY_IF,
    (call, [key = ''], [value = '', expected]) => {
      const current = call('GET', key)
      if (current !== value && current !== (expected ?? null)) return current === null ? 'removed' : 'replaced'
      call('SET', key, value)
      return 'written'
    },
  ],
  [
    RENEW,
    (call, [key = ''], [id = '', lifetime = '']) => (call('GET', key) === id ? call('PEXPIRE', key, lifetime) : 0),
  ],
  [RELEASE, (call, [key = ''], [id = '']) => (call('GET', key) === id ? call('DEL', key) : 0)],
])
