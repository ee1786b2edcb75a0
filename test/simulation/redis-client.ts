import { EventEmitter } from 'node:events'
import type { Caller } from './caller'
import type { Connection, Outcome, RedisNetwork, Sent } from './redis-network'

/** What ioredis makes of an error that Redis has answered with (redis-errors). */
export class ReplyError extends Error {
  override readonly name = 'ReplyError'
  constructor(
    message: string,
    /** As ioredis keeps it, secrets and all. */
    readonly command: { name: string; args: string[] },
  ) {
    super(message)
  }
}

interface Answer {
  sent: Sent
  resolve(value: unknown): void
  reject(error: Error): void
  arrived?: Outcome | { thrown: unknown }
}

type Status = 'wait' | 'connecting' | 'ready' | 'end'

export interface ClientOptions {
  lazyConnect?: boolean
}

/** ioredis' `Redis` for one process, as far as it is used: no reconnection, no queue while it is not connected. */
export function clientClassOf(network: RedisNetwork, caller: Caller) {
  return class Redis extends EventEmitter {
    status: Status = 'wait'
    readonly #url: URL
    readonly #unanswered: Answer[] = []
    readonly #connection: Connection
    /** What connect() still has to answer. */
    #connecting: { resolve(): void; reject(error: Error): void } | undefined

    constructor(url = 'redis://127.0.0.1:6379', options: ClientOptions = {}) {
      super()
      this.#url = new URL(url)
      this.#connection = {
        caller,
        queue: [],
        blocked: false,
        open: true,
        mute: false,
        left: false,
        written: 0,
        tell: (sent) => void caller.operation(`redis answer ${sent.name}`, () => {}).then(() => this.#hear(sent)),
        lost: (code) => this.#end(code && this.#systemError(code, 'read')),
      }
      if (!options.lazyConnect) this.connect().catch(() => {})
    }

    connect(): Promise<void> {
      if (this.status === 'connecting' || this.status === 'ready') {
        return Promise.reject(new Error('Redis is already connecting/connected'))
      }
      if (this.status === 'end') return Promise.reject(new Error('the simulated Redis client connects once'))
      this.status = 'connecting'
      const made = (isMade: boolean | undefined) => {
        if (this.status !== 'connecting' || isMade === undefined) return
        if (!isMade) return this.#end(this.#systemError('ECONNREFUSED', 'connect'))
        this.status = 'ready'
        this.emit('connect')
        this.emit('ready')
        this.#connecting?.resolve()
        this.#connecting = undefined
      }
      const late = () => void caller.operation('redis connected', () => {}).then(() => made(true))
      return new Promise((resolve, reject) => {
        this.#connecting = { resolve, reject }
        void caller.operation('redis connect', () => network.connect(this.#connection, late)).then(made)
      })
    }

    call(name: string, ...args: (string | number | Uint8Array)[]): Promise<unknown> {
      if (this.status === 'wait') this.connect().catch(() => {})
      if (this.status === 'end') return Promise.reject(new Error('Connection is closed.'))
      if (this.status !== 'ready') {
        return Promise.reject(new Error("Stream isn't writeable and enableOfflineQueue options is false"))
      }
      const sent: Sent = {
        name: name.toUpperCase(),
        args: args.map(String),
        arrived: false,
        waits: false,
        lost: false,
        delayed: false,
      }
      this.#connection.queue.push(sent)
      return new Promise((resolve, reject) => {
        const answer: Answer = { sent, resolve, reject }
        this.#unanswered.push(answer)
        caller
          .operation(`redis ${sent.name}`, () => network.arrive(this.#connection, sent))
          .then(
            (outcome) => outcome && this.#arrived(answer, outcome),
            (thrown) => this.#arrived(answer, { thrown }),
          )
      })
    }

    /** Sent together, one after the other, on the same connection. */
    pipeline(commands: [name: string, ...args: (string | number)[]][] = []) {
      const client = this
      return {
        call(...command: [name: string, ...args: (string | number)[]]) {
          commands.push(command)
          return this
        },
        async exec(): Promise<[Error | null, unknown][]> {
          const answers = await Promise.allSettled(commands.map((command) => client.call(...command)))
          return answers.map((answer) =>
            answer.status === 'fulfilled' ? [null, answer.value] : [answer.reason as Error, undefined],
          )
        },
      }
    }

    async quit(): Promise<unknown> {
      const answer = await this.call('QUIT')
      void caller.operation('redis closed', () => {}).then(() => this.#end())
      return answer
    }

    disconnect(): void {
      if (this.status === 'end') return
      network.leave(this.#connection)
      if (this.status === 'wait') this.#end()
      else void caller.operation('redis disconnect', () => {}).then(() => this.#end())
    }

    #hear(sent: Sent): void {
      const answer = this.#unanswered.find((one) => one.sent === sent)
      if (answer && sent.outcome) this.#arrived(answer, sent.outcome)
    }

    /** Answers are heard in the order in which they were asked for. */
    #arrived(answer: Answer, arrived: NonNullable<Answer['arrived']>): void {
      if (this.status === 'end') return
      answer.arrived = arrived
      for (let first = this.#unanswered[0]; first?.arrived; first = this.#unanswered[0]) {
        this.#unanswered.shift()
        const { arrived } = first
        if ('reply' in arrived) first.resolve(arrived.reply)
        else if ('error' in arrived)
          first.reject(new ReplyError(arrived.error, { name: first.sent.name, args: first.sent.args }))
        else first.reject(arrived.thrown as Error)
      }
    }

    #end(error?: Error): void {
      if (this.status === 'end') return
      this.status = 'end'
      network.leave(this.#connection)
      if (error && this.listenerCount('error') > 0) this.emit('error', error)
      const closed = () => new Error('Connection is closed.')
      for (const { reject } of this.#unanswered.splice(0)) reject(closed())
      this.#connecting?.reject(closed())
      this.emit('close')
      this.emit('end')
    }

    #systemError(code: string, syscall: string): Error {
      const { hostname: address, port } = this.#url
      const place = syscall === 'connect' ? ` ${address}:${port || 6379}` : ''
      return Object.assign(new Error(`${syscall} ${code}${place}`), {
        code,
        syscall,
        ...(place ? { address, port: Number(port || 6379) } : {}),
      })
    }
  }
}
