import type { Caller, Later } from './caller'
import type { Random } from './random'
import { type RedisRefusals, type RedisServer, Refusal, type Reply } from './redis-server'

export interface NetworkFaults {
  /**
   * - refused: nobody listens, and connections there were are cut
   * - hung: connections stay and new ones are accepted, and nothing is answered until it goes on; then what has arrived meanwhile takes effect
   * - silent: packets are lost, and what was sent may arrive afterwards, or its connection be cut
   */
  away: false | 'refused' | 'hung' | 'silent'
  /** How probably a command takes effect and its answer is lost: the connection is cut, or says nothing more. */
  answersLost: number
  /** Up to so many ms more before a command takes effect. Only with `later`. */
  slow: number
}

export type Outcome = { reply: Reply } | { error: string }

export interface Sent {
  name: string
  args: string[]
  /** Its own moment has come, and it waits for those before it, or for a Redis that is hung. */
  arrived: boolean
  outcome?: Outcome
  /** Its moment has passed without an outcome: the server tells it when there is one. */
  waits: boolean
  /** There was an outcome, and nobody will hear it. */
  lost: boolean
  /** What has delayed it is over. */
  delayed: boolean
}

export interface Connection {
  caller: Caller
  /** Sent and without effect, in order. */
  queue: Sent[]
  /** Something in the queue's place makes the rest wait: WAITAOF, or slowness. */
  blocked: boolean
  /** On the side of the server. */
  open: boolean
  /** No answer gets through any more. */
  mute: boolean
  /** The client has closed it. */
  left: boolean
  /** The number of its last write, which WAIT and WAITAOF are about. */
  written: number
  /** An outcome that comes later than the moment of the command. */
  tell(sent: Sent): void
  /** The other side has closed, or the network. */
  lost(error: 'ECONNRESET' | undefined): void
}

/** What connections do: order, blocking, loss. Commands of one connection take effect in the order in which they were sent. */
export class RedisNetwork {
  readonly faults: NetworkFaults & RedisRefusals
  readonly #connections = new Set<Connection>()
  /** Connections that wait for a silence to end. */
  #knocking: (() => void)[] = []
  #away: NetworkFaults['away'] = false
  readonly #server: RedisServer
  readonly #random: Random
  readonly #now: () => number
  readonly #later: Later | undefined

  constructor(server: RedisServer, random: Random, now: () => number, later: Later | undefined) {
    this.#server = server
    this.#random = random
    this.#now = now
    this.#later = later
    const away: PropertyDescriptor = {
      get: () => this.#away,
      set: (next: NetworkFaults['away']) => this.#become(next),
      enumerable: true,
    }
    this.faults = Object.defineProperty(
      Object.assign(server.refusals, { away: false as const, answersLost: 0, slow: 0 }),
      'away',
      away,
    )
  }

  #become(away: NetworkFaults['away']): void {
    const before = this.#away
    this.#away = away
    if (away === 'refused') this.cutAll()
    else if (away === false && before) this.#goOn(before)
  }

  /** At its moment: whether the connection is made; undefined: nobody knows until the silence ends, when `made` is called. */
  connect(connection: Connection, made: () => void): boolean | undefined {
    if (this.#away === 'refused') return false
    if (this.#away === 'silent') {
      this.#knocking.push(() => {
        if (connection.left) return
        this.#connections.add(connection)
        made()
      })
      return undefined
    }
    this.#connections.add(connection)
    return true
  }

  /** At the moment of a command. @returns its outcome if there is one that gets through */
  arrive(connection: Connection, sent: Sent): Outcome | undefined {
    // With it what was sent before it; it may itself have come with what was sent after it.
    for (const one of connection.queue.slice(0, connection.queue.indexOf(sent) + 1)) one.arrived = true
    this.#proceed(connection)
    sent.waits = true
    return sent.lost || connection.mute ? undefined : sent.outcome
  }

  /** The client has closed: what was sent may arrive all the same. */
  leave(connection: Connection): void {
    connection.mute = true
    connection.left = true
    if (connection.queue.length > 0 && this.#random.chance(0.5)) connection.queue.length = 0
    if (connection.queue.length === 0) this.#connections.delete(connection)
  }

  /** The process of that caller has ended, and with it its connections; what still arrives has arrived. */
  leaveAll(caller: Caller): void {
    for (const connection of [...this.#connections]) {
      if (connection.caller !== caller) continue
      this.leave(connection)
      for (const sent of connection.queue) sent.arrived = true
      this.#proceed(connection)
    }
  }

  /** Everybody loses the connection. What has arrived at nobody yet takes effect before, up to some command, if `delivers`. */
  cutAll(delivers = true): void {
    for (const connection of [...this.#connections]) this.#cut(connection, delivers)
  }

  #cut(connection: Connection, delivers: boolean): void {
    this.#connections.delete(connection)
    connection.open = false
    if (delivers) {
      const count = this.#random.below(connection.queue.length + 1)
      for (const sent of connection.queue.slice(0, count)) this.#execute(connection, sent)
    }
    connection.queue.length = 0
    // Answers that were on their way may still be heard.
    connection.mute ||= this.#random.chance(0.5)
    if (connection.left) return
    const error = this.#random.chance(0.5) ? 'ECONNRESET' : undefined
    void connection.caller.operation('redis connection lost', () => {}).then(() => connection.lost(error))
  }

  #goOn(before: 'refused' | 'hung' | 'silent'): void {
    for (const connection of [...this.#connections]) {
      if (before === 'silent' && this.#random.chance(0.5)) this.#cut(connection, this.#random.chance(0.5))
      else this.#proceed(connection)
    }
    const knocking = this.#knocking
    this.#knocking = []
    for (const made of knocking) made()
  }

  /** Lets take effect what may. */
  #proceed(connection: Connection): void {
    for (;;) {
      const sent = connection.queue[0]
      if (!sent?.arrived || this.#away || connection.blocked || !connection.open) return
      const { slow, answersLost } = this.faults
      if (slow > 0 && this.#later && !sent.delayed) {
        sent.delayed = true
        this.#block(connection, this.#random.below(slow))
        return
      }
      if (!this.#mayEnd(connection, sent)) return
      connection.queue.shift()
      this.#execute(connection, sent)
      if (answersLost > 0 && this.#random.chance(answersLost)) {
        sent.lost = true
        connection.mute = true
        if (this.#random.chance(0.5)) this.#cut(connection, true)
      }
      if (sent.waits && !connection.mute) connection.tell(sent)
      if (sent.name === 'QUIT' || (connection.left && connection.queue.length === 0)) {
        this.#connections.delete(connection)
      }
    }
  }

  #block(connection: Connection, ms: number): void {
    connection.blocked = true
    this.#later?.(ms, () => {
      connection.blocked = false
      this.#proceed(connection)
    })
  }

  #execute(connection: Connection, sent: Sent): void {
    const before = this.#server.written
    try {
      sent.outcome ??= { reply: sent.name === 'QUIT' ? 'OK' : this.#server.run(sent.name, sent.args) }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      sent.outcome = { error: error.message }
    }
    if (this.#server.written > before) connection.written = this.#server.written
  }

  /** WAITAOF and WAIT hold their connection until what they wait for has come about, or their time is over. */
  #mayEnd(connection: Connection, sent: Sent): boolean {
    const deadline = this.#deadlines.get(sent)
    const wanted = wantedBy(sent, this.#server.settings.version)
    if (!wanted) return true
    try {
      this.#server.mayRun(sent.name, sent.args)
      if (this.faults.readOnly) throw new Refusal(sent.name === 'WAIT' ? NO_WAIT : NO_WAITAOF)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      sent.outcome = { error: error.message }
      return true
    }
    const { local, replicas, timeout } = wanted
    if (local > 0 && this.#server.settings.persistence === 'none') {
      sent.outcome = { error: 'ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.' }
      return true
    }
    if (!this.#later) this.#server.flush(connection.written)
    const [onDisk, onReplicas] = [this.#server.onDisk(connection.written), this.#server.onReplicas(connection.written)]
    const until = deadline ?? (timeout === 0 ? Number.POSITIVE_INFINITY : this.#now() + timeout)
    const enough = onDisk >= local && onReplicas >= replicas
    if (enough || this.#now() >= until || !this.#later) {
      this.#deadlines.delete(sent)
      sent.outcome = { reply: sent.name === 'WAIT' ? onReplicas : [onDisk, onReplicas] }
      return true
    }
    this.#deadlines.set(sent, until)
    this.#block(connection, Math.max(1, Math.min(LOOK, until - this.#now())))
    return false
  }

  readonly #deadlines = new WeakMap<Sent, number>()
}

const NO_WAIT =
  'ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be ' +
  'writable (which is not the default) writes to replicas are just local and are not propagated.'
const NO_WAITAOF =
  'ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not ' +
  'propagated.'

/** Milliseconds between two looks at whether what WAITAOF waits for has come about. */
const LOOK = 50

function wantedBy(
  { name, args }: Sent,
  version: string,
): { local: number; replicas: number; timeout: number } | undefined {
  const numbers = args.map(Number)
  if (numbers.some((number) => !Number.isSafeInteger(number) || number < 0)) return undefined
  if (name === 'WAIT' && args.length === 2) return { local: 0, replicas: numbers[0] ?? 0, timeout: numbers[1] ?? 0 }
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (name !== 'WAITAOF' || args.length !== 3 || major < 7 || (major === 7 && minor < 2)) return undefined
  return { local: numbers[0] ?? 0, replicas: numbers[1] ?? 0, timeout: numbers[2] ?? 0 }
}
