import type { Command } from '../command'
import { StorageError } from '../errors'
import type { TokenStore } from '../store'

/** More than anything that is kept here needs; a longer text is not one of ours. */
const LARGEST_VALUE = 1024 * 1024

/**
 * A script and no GET: Upstash answers what only reads from the nearest replica, which may be behind; what may write goes to the
 * primary (upstash.com/docs/redis/features/globaldatabase).
 */
export const READ = `
if redis.call('STRLEN', KEYS[1]) > ${LARGEST_VALUE} then return -1 end
return redis.call('GET', KEYS[1])`

/**
 * The value, and what is to be there; without the latter: nothing. A repeated write finds its own value, and writes it again: what waits for
 * it to be flushed waits for what this connection has written.
 */
export const WRITE_ONLY_IF = `
local current = redis.call('GET', KEYS[1])
if current ~= ARGV[1] and current ~= (ARGV[2] or false) then return current and 'replaced' or 'removed' end
redis.call('SET', KEYS[1], ARGV[1])
return 'written'`

/**
 * One Redis string a key; as durable as that Redis is.
 * @param prefix what every key begins with
 * @param toChange what changes this key; one that is durable only later, it waits for
 */
export function redisStore(run: Command, prefix: string, toChange: (key: string) => Command = () => run): TokenStore {
  const nameOf = (key: string) => {
    if (!/^[\w.-]+$/.test(key)) throw new TypeError(`not a key of this store: ${key}`)
    return prefix + key
  }

  async function evaluate(by: Command, script: string, key: string, ...args: string[]): Promise<unknown> {
    const name = nameOf(key)
    return by('EVAL', script, 1, name, ...args).catch((error) => {
      throw error instanceof StorageError && error.code === 'unusable' ? notOurs(name, 'not a text') : error
    })
  }

  async function read(key: string): Promise<string | null> {
    const found = await evaluate(run, READ, key)
    if (found === -1) throw notOurs(nameOf(key), 'larger than 1 MiB')
    if (found !== null && typeof found !== 'string') throw misunderstood('EVAL')
    return found
  }

  async function write(key: string, value: string, onlyIf?: string | null): Promise<void> {
    if (onlyIf === undefined) {
      await toChange(key)('SET', nameOf(key), value)
      return
    }
    const outcome = await evaluate(toChange(key), WRITE_ONLY_IF, key, value, ...(onlyIf === null ? [] : [onlyIf]))
    if (outcome === 'written') return
    if (outcome !== 'replaced' && outcome !== 'removed') throw misunderstood('EVAL')
    throw new StorageError('conflict', `${key} was ${outcome} meanwhile`)
  }

  return {
    read,
    write,
    async remove(key) {
      await toChange(key)('DEL', nameOf(key))
    },
    /** SCAN may name a key twice. */
    async keys() {
      const keys = new Set<string>()
      let cursor = '0'
      do {
        const answer = await run('SCAN', cursor, 'MATCH', `${escapeGlob(prefix)}.yoto_*`, 'COUNT', 1_000)
        if (!isPage(answer)) throw misunderstood('SCAN')
        for (const name of answer[1]) keys.add(name.slice(prefix.length))
        cursor = String(answer[0])
      } while (cursor !== '0')
      return [...keys]
    },
  }
}

function escapeGlob(text: string): string {
  return text.replace(/[\\*?[\]]/g, '\\$&')
}

function isPage(answer: unknown): answer is [cursor: string | number, names: string[]] {
  if (!Array.isArray(answer)) return false
  const [cursor, names] = answer
  return /^\d+$/.test(cursor) && Array.isArray(names) && names.every((name) => typeof name === 'string')
}

/** What stands at the address is no Redis, or has something in between that changes what is said. */
function misunderstood(command: string): StorageError {
  const hint = 'Check that the address names a Redis of version 6 or newer, or Upstash.'
  return new StorageError('unavailable', `${command} was answered with what no Redis answers`, hint)
}

function notOurs(name: string, what: string): StorageError {
  return new StorageError('unusable', `${name} is ${what}`, `Move ${name} away; it is left as it is.`)
}
