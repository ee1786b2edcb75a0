import type { Wire } from '../command'
import type { Durability } from './durability'
import type { Flush } from './flush'
import { infoOf } from './info'

/** What can be told of a Redis; what it does not say is missing. */
interface Facts {
  /** It has an append-only file. */
  aof?: boolean
  fsync?: string
  /** When it takes snapshots: seconds and changes by turns (redis.conf: save); empty: never. */
  save?: string
  /** Snapshots that it has taken since it was started. */
  snapshots?: number
  replicas: number
  policy?: string
  /** Bytes that it may use; 0: all there are. */
  maxmemory?: number
  /** WAITAOF can be had; `early`: and answers before a file is flushed that is flushed every second. */
  wait: 'none' | 'early' | 'sound'
  /** CONFIG can be had, and so its owner can set what is to be set. */
  isOurs: boolean
}

/** What can be lost. */
interface Fault {
  lasts: boolean
  message: string
  hint: string
}

/** Asks a Redis what it says of itself, in one round trip; what it refuses is left open. */
export function redisDurability(wire: Wire, flush: Flush): () => Promise<Durability> {
  return async () => {
    const facts = await ask(wire)
    flush.isPointless = facts.fsync === 'no'
    const faults = [persistence(facts), eviction(facts), missed(flush)].filter((one) => one !== undefined)
    const { place } = wire
    const lasts = facts.aof || undefined
    if (faults.length === 0) return { lasts, message: `${place} ${said(facts)}.` }
    return {
      lasts: faults.some((fault) => !fault.lasts) ? false : lasts,
      message: `${place} ${faults.map(({ message }) => message).join('; it ')}.`,
      hint: faults.map(({ hint }) => hint).join(' '),
    }
  }
}

/** CONFIG takes one pattern only before Redis 7. */
async function ask({ ask }: Wire): Promise<Facts> {
  const [answer, wait, ...settings] = await Promise.all([
    ask('INFO'),
    ask('WAITAOF', 0, 0, 1), // waits for nothing
    ask('CONFIG', 'GET', 'append*'),
    ask('CONFIG', 'GET', 'save'),
    ask('CONFIG', 'GET', 'maxmemory*'),
  ])
  const info = infoOf(answer)
  const config = new Map(settings.flatMap(pairsOf))
  const aof = config.get('appendonly') ?? info.get('aof_enabled')
  return {
    aof: aof === undefined ? undefined : aof === 'yes' || aof === '1',
    fsync: config.get('appendfsync'),
    save: config.get('save'),
    snapshots: numberIn(info.get('rdb_saves')),
    replicas: numberIn(info.get('connected_slaves')) ?? 0,
    policy: config.get('maxmemory-policy') ?? info.get('maxmemory_policy'),
    maxmemory: numberIn(config.get('maxmemory') ?? info.get('maxmemory')),
    wait: wait === undefined ? 'none' : answersEarly(info) ? 'early' : 'sound',
    isOurs: config.has('appendonly'),
  }
}

/** github.com/redis/redis/pull/13793, for which no Valkey is known to have the mend: of 8.0.1 it was seen. */
function answersEarly(info: Map<string, string>): boolean {
  const valkey = info.get('valkey_version')
  return valkey ? !valkey.startsWith('7.') : /^7\.4\.[0-2]$/.test(info.get('redis_version') ?? '')
}

function pairsOf(answer: unknown): [string, string][] {
  const list = Array.isArray(answer) ? answer.map(String) : []
  return list.flatMap((name, at) => (at % 2 === 0 ? [[name, list[at + 1] ?? ''] as [string, string]] : []))
}

function numberIn(text: string | undefined): number | undefined {
  return text === undefined || text === '' ? undefined : Number(text)
}

function persistence(facts: Facts): Fault | undefined {
  const { aof, save, fsync, isOurs, replicas } = facts
  if (aof === undefined) return undefined
  if (aof) {
    if (fsync !== 'no') return undefined
    return {
      lasts: true,
      message:
        'leaves it to its system when its file is flushed: a power failure may lose what was saved half a minute before',
      hint: 'Set `appendfsync everysec`: `redis-cli config set appendfsync everysec`, and in its configuration.',
    }
  }
  // It keeps no file, and what the provider does instead it has no way to say; what it copies is waited for.
  if (!isOurs && replicas > 0) return undefined
  return { lasts: false, message: loss(facts, save), hint: isOurs ? TURN_ON : HAVE_TURNED_ON }
}

const TURN_ON =
  'Turn its append-only file on: `redis-cli config set appendonly yes`, and `appendonly yes` in its configuration.'
const HAVE_TURNED_ON = 'Turn persistence (AOF) on where it is managed, or keep the sign-in in a Redis that has it.'

function loss({ snapshots = 0 }: Facts, save: string | undefined): string {
  if (save === '') return 'keeps what is stored in memory only: when it is restarted, the sign-in is gone'
  if (save !== undefined) {
    return `takes snapshots only: when it crashes, what was saved in the last ${interval(save)} is gone, and with it the sign-in, if it was renewed in that time`
  }
  const kept =
    snapshots > 0 ? 'takes snapshots only' : 'has no append-only file, and does not say whether it takes snapshots'
  return `${kept}: when it crashes, what was saved last is gone, and with it the sign-in, if it was renewed in that time`
}

/** Of the rule that asks for the fewest changes, as the service makes few. */
function interval(save: string): string {
  const numbers = save.split(' ').map(Number)
  const rules = numbers.flatMap((seconds, at) => (at % 2 === 0 ? [{ seconds, changes: numbers[at + 1] ?? 1 }] : []))
  const [{ seconds, changes } = { seconds: 0, changes: 1 }] = rules.sort(
    (a, b) => a.changes - b.changes || a.seconds - b.seconds,
  )
  const time = seconds < 120 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`
  return changes > 1 ? `${time} and ${changes} changes` : time
}

/** Values have no TTL, so that `volatile-*` leaves them alone. */
function eviction({ policy, maxmemory, isOurs }: Facts): Fault | undefined {
  if (!policy?.startsWith('allkeys-') || maxmemory === 0) return undefined
  return {
    lasts: false,
    message: `drops what it likes when it is full (maxmemory-policy ${policy}), and that may be the sign-in`,
    hint: isOurs
      ? 'Set `maxmemory-policy noeviction`: `redis-cli config set maxmemory-policy noeviction`, and in its configuration.'
      : 'Set its eviction policy to noeviction where it is managed, or keep the sign-in in a Redis that is no cache.',
  }
}

function missed(flush: Flush): Fault | undefined {
  const places = flush.missed()
  if (places.length === 0) return undefined
  return {
    lasts: true,
    message: `has stored what was saved last, and has not said in time that it is ${places.join(' and ')}`,
    hint: 'See whether its disk is slow or a replica hangs: `redis-cli info persistence`, `redis-cli info replication`.',
  }
}

function said({ aof, fsync, wait, replicas }: Facts): string {
  const copies =
    replicas > 0
      ? `; ${replicas > 1 ? `${replicas} replicas have` : 'a replica has'} a copy, and a save waits for one`
      : ''
  if (aof === undefined)
    return `does not say whether it keeps what is stored on a disk: that is for who runs it to promise${copies}`
  if (!aof) return `has no append-only file, and does not say what it does instead${copies}`
  return `keeps an append-only file, ${flushed(fsync, wait)}${copies}`
}

function flushed(fsync: string | undefined, wait: Facts['wait']): string {
  if (fsync === 'always') return 'flushed at every write'
  if (wait === 'sound') return 'and a save waits until it is flushed'
  const when = fsync === 'everysec' ? 'flushed every second' : 'and does not say when it is flushed'
  const why = wait === 'early' ? 'this version answers WAITAOF too early' : 'WAITAOF cannot be had'
  return `${when}: a power failure may lose what was saved in the last second, as ${why}`
}
