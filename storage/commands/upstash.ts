import { type FetchError, ofetch } from 'ofetch'
import { type Connection, TIME_LIMIT } from '../command'
import { StorageError } from '../errors'
import { refusal, type Server, unreachable } from './refusal'

export interface UpstashOptions {
  url: string
  token: string
}

/** Commands over Upstash's REST API: each is a POST of its own (upstash.com/docs/redis/features/restapi). */
export function callUpstash({ url, token }: UpstashOptions): Connection {
  const server: Server = {
    place: `Upstash at ${new URL(url).host}`,
    address: 'UPSTASH_REDIS_REST_URL (or KV_REST_API_URL)',
    credentials: 'UPSTASH_REDIS_REST_TOKEN (or KV_REST_API_TOKEN)',
  }
  return {
    place: server.place,
    async run(...command) {
      const signal = AbortSignal.timeout(TIME_LIMIT)
      const response = await ofetch
        .raw<string, 'text'>(url, {
          method: 'POST',
          body: command,
          headers: { authorization: `Bearer ${token}` },
          redirect: 'manual', // the token must not go anywhere else
          retry: 0,
          signal,
          responseType: 'text',
          ignoreResponseError: true,
        })
        .catch((error) => {
          const what = signal.aborted ? 'has not answered within 2 seconds' : `cannot be reached: ${codeOf(error)}`
          throw unreachable(what, server)
        })
      const answer = parse(response._data)
      if (response.ok && answer && 'result' in answer) return answer.result
      throw inWords(response.status, answer?.error, server)
    },
    close() {},
  }
}

function inWords(status: number, error: unknown, server: Server): StorageError {
  if (status === 401 || status === 403) return refusal('WRONGPASS', server)
  // Of a second (429), or of a day or month (upstash.com/docs/redis/troubleshooting/max_requests_limit).
  if (status === 429 || /limit exceeded/.test(String(error))) {
    return new StorageError('unavailable', `${server.place} takes no more commands for now`, 'Look at its limits.')
  }
  if (typeof error === 'string') return refusal(error, server)
  return unreachable(status === 200 ? 'has answered what cannot be read' : `has answered ${status}`, server)
}

function parse(text: string | undefined): { result?: unknown; error?: unknown } | undefined {
  try {
    const value = JSON.parse(text ?? '')
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function codeOf(error: unknown): string {
  for (let cause = error as (FetchError & { code?: unknown }) | undefined; cause; cause = cause.cause as typeof cause) {
    if (typeof cause.code === 'string') return cause.code
  }
  return 'unknown error'
}
