import type { Random } from './random'
import { TWINS } from './redis-scripts'

/** Strings, or an error as Redis words it. */
export type Reply = string | number | null | Reply[]
export type Call = (name: string, ...args: string[]) => Reply

/** What Redis answers instead of a reply; its first word is the code. */
export class Refusal {
  constructor(readonly message: string) {}
}

export interface RedisSettings {
  /** What a restart leaves: nothing, all but the last second, everything (appendonly, appendfsync). */
  persistence: 'none' | 'everysec' | 'always'
  /** maxmemory-policy allkeys-lru instead of noeviction: when full, another key goes. */
  evicts: boolean
  /** From 7.2 on there is WAITAOF. */
  version: string
  /** How many replicas acknowledge what was written. */
  replicas: number
}

export interface RedisRefusals {
  /** Writes are answered with OOM, or cost another key (`evicts`). */
  full: boolean
  /** Writes are answered with READONLY: it is a replica. */
  readOnly: boolean
  /** Writes are answered with this, such as 'MISCONF Errors writing to the AOF file'. */
  refusesWrites?: string
  /** Everything is answered with this, such as 'LOADING Redis is loading the dataset in memory', 'NOAUTH Authentication required.' */
  refuses?: string
  /** Commands that this user may not run (NOPERM), such as CONFIG. */
  forbidden: Set<string>
}

interface Entry {
  value: string
  /** A list: no command that is simulated has use for it. */
  isList: boolean
  /** Virtual ms at which it is gone. */
  expires: number
}

interface Write {
  number: number
  at: number
  key: string
  before: Entry | undefined
}

const WRONG_TYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value'
const NO_INTEGER = 'ERR value is not an integer or out of range'
const WRITES = new Set(['SET', 'DEL', 'PEXPIRE'])
/** [fewest, most] arguments after the name. */
const COUNTS: Record<string, [number, number]> = {
  GET: [1, 1],
  SET: [2, 99],
  DEL: [1, 99],
  STRLEN: [1, 1],
  EXISTS: [1, 99],
  PEXPIRE: [2, 3],
  PTTL: [1, 1],
  SCAN: [1, 99],
  PING: [0, 1],
  EVAL: [2, 99],
  WAIT: [2, 2],
}
/** How long a write can be taken back: a failover loses less. */
const REMEMBERED = 120_000

/** The keys of a Redis, its commands, and what it forgets. It knows no connection. */
export class RedisServer {
  readonly settings: RedisSettings = { persistence: 'always', evicts: false, version: '7.4.0', replicas: 0 }
  readonly refusals: RedisRefusals = { full: false, readOnly: false, forbidden: new Set() }
  /** What was asked for and is not simulated: a flaw of the simulation, which its answer alone would hide. */
  readonly lacks: string[] = []
  #entries = new Map<string, Entry>()
  #writes: Write[] = []
  #written = 0
  /** Writes up to this one are on a replica, as WAIT has said. */
  #acknowledged = 0
  /** Writes up to this one are on the disk, as WAITAOF has said. */
  #flushed = 0
  readonly #random: Random
  readonly #now: () => number

  constructor(random: Random, now: () => number) {
    this.#random = random
    this.#now = now
  }

  /** The number of the last write. */
  get written(): number {
    return this.#written
  }

  /** @throws Refusal */
  run(name: string, args: string[]): Reply {
    this.mayRun(name, args)
    return this.#execute(name.toUpperCase(), args)
  }

  /** @throws Refusal where it is refused whatever is stored */
  mayRun(name: string, args: string[]): void {
    const command = name.toUpperCase()
    const { refuses, forbidden } = this.refusals
    if (refuses) throw new Refusal(refuses)
    const [fewest, most] = COUNTS[command] ?? [0, 99]
    if (args.length < fewest || args.length > most) {
      throw new Refusal(`ERR wrong number of arguments for '${command.toLowerCase()}' command`)
    }
    if (forbidden.has(command)) {
      const full = command === 'CONFIG' ? `config|${args[0]?.toLowerCase()}` : command.toLowerCase()
      throw new Refusal(`NOPERM this user has no permissions to run the '${full}' command`)
    }
  }

  #execute(command: string, args: string[]): Reply {
    const [key = ''] = args
    if (WRITES.has(command)) this.#mayWrite(command, key)
    switch (command) {
      case 'PING':
        return args[0] ?? 'PONG'
      case 'GET':
        return this.#text(key)?.value ?? null
      case 'STRLEN':
        return Buffer.byteLength(this.#text(key)?.value ?? '')
      case 'EXISTS':
        return args.filter((one) => this.#live(one)).length
      case 'PTTL': {
        const entry = this.#live(key)
        return !entry ? -2 : entry.expires === Number.POSITIVE_INFINITY ? -1 : Math.ceil(entry.expires - this.#now())
      }
      case 'SET':
        return this.#set(args)
      case 'DEL':
        return args.filter((one) => this.#live(one) && this.#put(one, undefined)).length
      case 'PEXPIRE': {
        if (!isInteger(args[1])) throw new Refusal(NO_INTEGER)
        const entry = this.#live(key)
        if (!entry) return 0
        const expires = this.#now() + Number(args[1])
        this.#put(key, Number(args[1]) > 0 ? { ...entry, expires } : undefined)
        return 1
      }
      case 'SCAN':
        return this.#scan(args)
      case 'INFO':
        return this.#info()
      case 'CONFIG':
        return this.#config(args)
      case 'EVAL':
        return this.#eval(args)
      default:
        return this.#unknown(command, args)
    }
  }

  #set([key = '', value = '', ...options]: string[]): Reply {
    let expires = Number.POSITIVE_INFINITY
    let condition: string | undefined
    for (let index = 0; index < options.length; index++) {
      const option = options[index]?.toUpperCase()
      if ((option === 'NX' || option === 'XX') && !condition) {
        condition = option
      } else if (
        (option === 'PX' || option === 'EX') &&
        expires === Number.POSITIVE_INFINITY &&
        ++index < options.length
      ) {
        if (!isInteger(options[index])) throw new Refusal(NO_INTEGER)
        if (Number(options[index]) <= 0) throw new Refusal("ERR invalid expire time in 'set' command")
        expires = this.#now() + Number(options[index]) * (option === 'EX' ? 1000 : 1)
      } else throw new Refusal('ERR syntax error')
    }
    if (condition && Boolean(this.#live(key)) !== (condition === 'XX')) return null
    this.#put(key, { value, isList: false, expires })
    return 'OK'
  }

  /**
   * By a hash of each name, so that a cursor holds no state: what is there from beginning to end is told, once or twice; the rest may be
   * (redis.io: SCAN guarantees). Now and then fewer than asked for.
   */
  #scan([cursor = '', ...options]: string[]): Reply {
    if (!/^\d+$/.test(cursor)) throw new Refusal('ERR invalid cursor')
    let pattern = /^/
    let count = 10
    for (let index = 0; index < options.length; index += 2) {
      const [option, value] = [options[index]?.toUpperCase(), options[index + 1]]
      if (value === undefined || (option !== 'MATCH' && option !== 'COUNT')) throw new Refusal('ERR syntax error')
      if (option === 'MATCH') pattern = globbed(value)
      else if (!isInteger(value)) throw new Refusal(NO_INTEGER)
      else count = Number(value)
      if (count < 1) throw new Refusal('ERR syntax error')
    }
    if (this.#random.chance(0.2)) count = Math.ceil(count * this.#random.next())
    const all = [...this.#entries.keys()].filter((key) => this.#live(key))
    const rest = all
      .map((key) => ({ key, place: hashOf(key) }))
      .filter(({ place }) => place >= Number(cursor))
      .sort((a, b) => a.place - b.place)
    let end = count
    while (end < rest.length && rest[end]?.place === rest[end - 1]?.place) end++
    const found = rest.slice(0, end).map(({ key }) => key)
    if (found[0] !== undefined && this.#random.chance(0.1)) found.push(found[0])
    return [String(rest[end]?.place ?? 0), found.filter((key) => pattern.test(key))]
  }

  #info(): string {
    const { version, persistence, evicts, replicas } = this.settings
    const { full, readOnly } = this.refusals
    return [
      '# Server',
      `redis_version:${version}`,
      'redis_mode:standalone',
      '',
      '# Memory',
      `maxmemory:${full || evicts ? 1_000_000 : 0}`,
      `maxmemory_policy:${evicts ? 'allkeys-lru' : 'noeviction'}`,
      '',
      '# Persistence',
      'loading:0',
      `aof_enabled:${persistence === 'none' ? 0 : 1}`,
      'aof_last_write_status:ok',
      '',
      '# Replication',
      `role:${readOnly ? 'slave' : 'master'}`,
      `connected_slaves:${readOnly ? 0 : replicas}`,
      '',
    ].join('\r\n')
  }

  #config([subcommand = '', ...names]: string[]): Reply {
    if (subcommand.toUpperCase() !== 'GET') return this.#lack(`CONFIG ${subcommand}`)
    const { persistence, evicts } = this.settings
    const values = {
      appendonly: persistence === 'none' ? 'no' : 'yes',
      appendfsync: persistence === 'always' ? 'always' : 'everysec',
      save: '',
      maxmemory: this.refusals.full || evicts ? '1000000' : '0',
      'maxmemory-policy': evicts ? 'allkeys-lru' : 'noeviction',
    }
    const asked = names.map((name) => globbed(name.toLowerCase()))
    return Object.entries(values).flatMap(([name, value]) => (asked.some((one) => one.test(name)) ? [name, value] : []))
  }

  #eval([script = '', count = '', ...rest]: string[]): Reply {
    const twin = TWINS.get(script)
    if (!twin) return this.#lack(`this script: add its twin to redis-scripts.ts\n${script}`)
    if (!isInteger(count)) throw new Refusal(NO_INTEGER)
    const call: Call = (name, ...args) => {
      const command = name.toUpperCase()
      try {
        if (this.refusals.forbidden.has(command)) {
          throw new Refusal("ERR The user executing the script can't run this command or subcommand")
        }
        return this.#execute(command, args)
      } catch (error) {
        // As Redis 7 puts it; before, the error was in a sentence of its own.
        if (error instanceof Refusal) throw new Refusal(`${error.message} script: a-script, on @user_script:1.`)
        throw error
      }
    }
    return twin(call, rest.slice(0, Number(count)), rest.slice(Number(count)))
  }

  #unknown(command: string, args: string[]): never {
    if (command !== 'WAITAOF' && command !== 'WAIT') return this.#lack(command)
    const shown = args.map((arg) => `'${arg}' `).join('')
    throw new Refusal(`ERR unknown command '${command}', with args beginning with: ${shown}`)
  }

  #lack(what: string): never {
    this.lacks.push(what)
    throw new Error(`the simulated Redis does not have ${what}`)
  }

  // Keys

  #live(key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.expires > this.#now()) return entry
    this.#entries.delete(key)
    return undefined
  }

  #text(key: string): Entry | undefined {
    const entry = this.#live(key)
    if (entry?.isList) throw new Refusal(WRONG_TYPE)
    return entry
  }

  #mayWrite(command: string, key: string): void {
    const { full, readOnly, refusesWrites } = this.refusals
    if (full && command === 'SET') {
      if (!this.settings.evicts) throw new Refusal("OOM command not allowed when used memory > 'maxmemory'.")
      const others = [...this.#entries.keys()].filter((one) => one !== key)
      if (others.length > 0) this.#put(this.#random.pick(others), undefined)
    }
    if (refusesWrites) throw new Refusal(refusesWrites)
    if (readOnly) throw new Refusal("READONLY You can't write against a read only replica.")
  }

  #put(key: string, entry: Entry | undefined): true {
    const at = this.#now()
    this.#writes.push({ number: ++this.#written, at, key, before: this.#entries.get(key) })
    if (entry) this.#entries.set(key, entry)
    else this.#entries.delete(key)
    if (this.#writes.length > 1000 && at - (this.#writes[500] as Write).at > REMEMBERED) this.#writes.splice(0, 500)
    return true
  }

  /** Takes back what was written after the write of that number. */
  #forgetAfter(number: number): void {
    for (let write = this.#writes.at(-1); write && write.number > number; write = this.#writes.at(-1)) {
      if (write.before) this.#entries.set(write.key, write.before)
      else this.#entries.delete(write.key)
      this.#writes.pop()
    }
  }

  /** The last write that was done at `time` or before. */
  #numberAt(time: number): number {
    const write = this.#writes.findLast(({ at }) => at <= time)
    return write?.number ?? (this.#writes[0]?.number ?? this.#written + 1) - 1
  }

  // What lasts

  /** How many disks have what was written up to that number: 0 or 1. */
  onDisk(number: number): number {
    const { persistence } = this.settings
    if (persistence === 'none') return 0
    return persistence === 'always' || number <= Math.max(this.#flushed, this.#numberAt(lastSecond(this.#now())))
      ? 1
      : 0
  }

  /** From now on a restart keeps it. */
  flush(number: number): void {
    if (this.settings.persistence !== 'none') this.#flushed = Math.max(this.#flushed, number)
  }

  /** How many replicas have it; a failover keeps it then. */
  onReplicas(number: number): number {
    const { replicas } = this.settings
    if (replicas > 0) this.#acknowledged = Math.max(this.#acknowledged, number)
    return replicas
  }

  restart(): void {
    const { persistence } = this.settings
    if (persistence === 'none') {
      this.#entries.clear()
      this.#writes = []
    } else if (persistence === 'everysec') {
      const [now, random] = [this.#now(), this.#random.next()]
      const begin = lastSecond(now)
      this.#forgetAfter(Math.max(this.#flushed, this.#numberAt(begin + (now - begin) * random)))
    }
  }

  /** A replica takes over that lacks the last `lost` ms. */
  failover(lost: number): void {
    const now = this.#now()
    if (lost > REMEMBERED) throw new Error(`a failover loses ${REMEMBERED} ms at most`)
    this.#forgetAfter(Math.max(this.#acknowledged, this.#numberAt(now - lost)))
  }

  // People

  put(key: string, value: string, isList = false): void {
    this.#put(key, { value, isList, expires: Number.POSITIVE_INFINITY })
  }

  take(key: string): string | null {
    return this.#live(key)?.value ?? null
  }

  remove(key: string): void {
    if (this.#live(key)) this.#put(key, undefined)
  }

  flushAll(): void {
    for (const key of [...this.#entries.keys()]) this.#put(key, undefined)
  }

  list(): string[] {
    return [...this.#entries.keys()].filter((key) => this.#live(key)).sort()
  }
}

/** appendfsync everysec: at each full second of virtual time. */
function lastSecond(now: number): number {
  return Math.floor(now / 1000) * 1000
}

function isInteger(text: string | undefined): boolean {
  return /^-?\d{1,18}$/.test(text ?? '')
}

/** As Redis matches names: * ? [a-z] [^a] and \ before what stands for itself. */
function globbed(pattern: string): RegExp {
  let source = ''
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index] as string
    if (character === '*') source += '[^]*'
    else if (character === '?') source += '[^]'
    else if (character === '[') {
      const end = pattern.indexOf(']', index + 1)
      const inner = pattern.slice(index + 1, end === -1 ? undefined : end)
      source += `[${inner.replace(/[\\\]]/g, '\\$&')}]`
      index = end === -1 ? pattern.length : end
    } else {
      const literal = character === '\\' && index + 1 < pattern.length ? (pattern[++index] as string) : character
      source += literal.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
    }
  }
  return new RegExp(`^${source}$`)
}

/** FNV-1a, 32 bits; never 0, which is where a scan begins. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  return hash >>> 0 || 1
}
