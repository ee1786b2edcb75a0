import type { Caller } from './caller'
import type { Connection, Outcome, RedisNetwork, Sent } from './redis-network'

export interface UpstashRequest {
  body: (string | number)[]
  signal?: AbortSignal
}

/** What Upstash's front says instead of asking Redis: its limits, its failures. */
export interface UpstashInstead {
  status: number
  body: string
}

/** `ofetch` for one process, in front of Redis: each POST is a command on a connection of its own (upstash.com/docs/redis/features/restapi). */
export function upstashOf(network: RedisNetwork, caller: Caller, instead: () => UpstashInstead | undefined) {
  async function raw(_url: string, { body: [name, ...args], signal }: UpstashRequest) {
    const sent: Sent = {
      name: String(name).toUpperCase(),
      args: args.map(String),
      arrived: false,
      waits: false,
      lost: false,
      delayed: false,
    }
    const answer = await new Promise<UpstashInstead>((resolve, reject) => {
      const connection: Connection = {
        caller,
        queue: [sent],
        blocked: false,
        open: true,
        mute: false,
        left: false,
        written: 0,
        tell: () => void caller.operation(`upstash answer ${sent.name}`, () => {}).then(() => heard(sent.outcome)),
        lost: (code) => reject(fetchError(code ?? 'UND_ERR_SOCKET')),
      }
      const heard = (outcome: Outcome | undefined) => {
        if (!outcome) return
        network.leave(connection)
        if ('reply' in outcome) resolve({ status: 200, body: JSON.stringify({ result: outcome.reply }) })
        else resolve({ status: 400, body: JSON.stringify({ error: outcome.error }) })
      }
      const arrive = () => network.arrive(connection, sent)
      signal?.addEventListener('abort', () => {
        network.leave(connection)
        reject(fetchError('ABORT_ERR'))
      })
      caller
        .operation(`upstash ${sent.name}`, () => {
          const front = instead()
          if (front) return { front }
          const made = network.connect(connection, () => {
            // What was told to nobody yet is told when there is an outcome.
            sent.waits = true
            arrive()
          })
          return made ? { outcome: arrive() } : { refused: made === false }
        })
        .then(({ front, outcome, refused }: { front?: UpstashInstead; outcome?: Outcome; refused?: boolean }) => {
          if (front) resolve(front)
          else if (refused) reject(fetchError('ECONNREFUSED'))
          else heard(outcome)
        }, reject)
    })
    return { ok: answer.status < 300, status: answer.status, _data: answer.body }
  }

  return Object.assign(() => Promise.reject(new Error('only ofetch.raw is simulated')), { raw })
}

/** As ofetch and fetch wrap it. */
function fetchError(code: string): Error {
  const cause = new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code }) })
  return Object.assign(new Error('fetch failed', { cause }), { name: 'FetchError' })
}
