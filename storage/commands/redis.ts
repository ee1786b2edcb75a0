import { Redis, type RedisOptions } from 'ioredis'
import { type Command, TIME_LIMIT, type Wire } from '../command'
import { StorageError } from '../errors'
import { refusal, type Server, unreachable } from './refusal'

interface Line {
  redis: Redis
  ready: Promise<void>
  /** Why it has ended; a command itself may hear less: after a wrong password only that one is wanted. */
  reason?: Error
}

/**
 * Commands over Redis' own protocol.
 *
 * ioredis would queue commands while Redis is away and send them when it is back, long after their caller has given up. So a
 * connection serves until its first error; the next command opens another one, and finds Redis as it is then: back, moved to a new
 * primary, with another password.
 */
export function connectRedis(url: string): Wire {
  const { hostname, port } = new URL(url)
  const server: Server = {
    place: `Redis at ${hostname}:${port || 6379}`,
    address: 'REDIS_URL',
    credentials: 'the password in REDIS_URL',
  }
  let line: Line | undefined

  function connect(): Line {
    const redis = open({
      lazyConnect: true,
      retryStrategy: () => null,
      enableOfflineQueue: false,
      enableReadyCheck: false,
      disableClientInfo: true,
      connectTimeout: TIME_LIMIT,
      keepAlive: 10_000,
    })
    const opened: Line = { redis, ready: redis.connect() }
    redis.on('error', (error) => {
      opened.reason = error
    })
    redis.once('end', () => forget(opened))
    return opened
  }

  /** A `%` that begins no escape is one more thing that an address may have wrong; ioredis throws there and then. */
  function open(options: RedisOptions): Redis {
    try {
      return new Redis(url, options)
    } catch {
      const { place, credentials } = server
      const hint = `Write a % as %25 in ${credentials}.`
      throw new StorageError('unavailable', `${place} cannot be reached: its address cannot be read`, hint)
    }
  }

  function forget(ended: Line): void {
    if (line === ended) line = undefined
  }

  async function call(words: Parameters<Command>, mayRefuse: boolean): Promise<unknown> {
    line ??= connect()
    const used = line
    try {
      return await inTime(used.ready.then(() => used.redis.call(...words)))
    } catch (error) {
      if (isReply(error) && mayRefuse && /^(ERR|NOPERM)\b/.test(error.message)) return undefined
      forget(used)
      // What else is under way has its answer first, if there are answers.
      if (isReply(error)) used.redis.quit().catch(() => {})
      else used.redis.disconnect()
      throw inWords(used.reason ?? error, server)
    }
  }

  return {
    place: server.place,
    run: (...words) => call(words, false),
    ask: (...words) => call(words, true),
    close() {
      line?.redis.disconnect()
      line = undefined
    },
  }
}

class Late extends Error {}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Late()), TIME_LIMIT)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

function isReply(error: unknown): error is Error {
  return (error as Error).name === 'ReplyError'
}

/** Without the cause: ioredis keeps the command and its arguments in it. */
function inWords(error: unknown, server: Server): StorageError {
  if (isReply(error)) return refusal(error.message, server)
  if (error instanceof Late) return unreachable('has not answered within 2 seconds', server)
  const { code } = error as { code?: string }
  return unreachable(code ? `cannot be reached: ${code}` : 'has closed the connection', server)
}
