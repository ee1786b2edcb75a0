import { ofetch } from 'ofetch'
import type { Check, Finding } from '../../storage'
import type { Config } from '../config'
import type { Clock } from '../keeper/clock'
import { causeCode } from '../yoto/request'

/** Milliseconds. */
const TIME_LIMIT = 3_000
/** Milliseconds by which the clocks may differ: nothing here hangs on less. */
const TOLERANCE = 60_000

interface Answer {
  status: number
  /** Milliseconds by which our clock is ahead of the server's; undefined where it has not said what it shows. */
  ahead?: number
}
type Asked = Answer | { reason: string }

/** Whether Yoto's two servers can be reached, and what their clocks show. Both are asked at once, without any token. */
export function yotoChecks({ authUrl, apiUrl }: Config, clock: Clock): Check[] {
  const login = ask('GET', `${authUrl}/.well-known/openid-configuration`, clock)
  const api = ask('HEAD', `${apiUrl}/`, clock)
  return [
    { name: 'yoto_login', look: async () => reach('sign-in server', authUrl, 'YOTO_AUTH_URL', await login) },
    { name: 'yoto_api', look: async () => reach('API', apiUrl, 'YOTO_API_URL', await api) },
    { name: 'clock', look: async () => compare(await login, await api) },
  ]
}

/** Never throws. */
async function ask(method: 'GET' | 'HEAD', url: string, clock: Clock): Promise<Asked> {
  const signal = AbortSignal.timeout(TIME_LIMIT)
  const sent = clock.wall()
  try {
    const { status, headers, _data } = await ofetch.raw<ReadableStream, 'stream'>(url, {
      method,
      redirect: 'manual',
      retry: 0,
      signal,
      responseType: 'stream',
      ignoreResponseError: true,
    })
    const between = (sent + clock.wall()) / 2
    _data?.cancel().catch(() => {})
    return { status, ahead: aheadOf(headers, between) }
  } catch (error) {
    if (signal.aborted) return { reason: `no answer within ${TIME_LIMIT / 1000} seconds` }
    return { reason: causeCode(error) || 'the connection broke' }
  }
}

/** `Date` leaves out the part of the second; `Age` is how long ago a cache on the way got it (RFC 9111, section 5.1). */
function aheadOf(headers: Headers, now: number): number | undefined {
  const shown = Date.parse(headers.get('date') ?? '')
  if (Number.isNaN(shown)) return undefined
  const age = Number(headers.get('age') ?? 0) || 0
  return now - (shown + 500 + age * 1000)
}

/** Whatever it says, it is there; but for a 5xx, with which a server on the way says that it is not. */
function reach(what: string, url: string, variable: string, asked: Asked): Finding {
  if ('reason' in asked) {
    return {
      ok: false,
      message: `Yoto's ${what} at ${url} cannot be reached (${asked.reason}).`,
      hint: `Check the connection with \`curl -I ${url}\`, and ${variable} if you have set it.`,
    }
  }
  if (asked.status >= 500) {
    return {
      ok: false,
      message: `Yoto's ${what} at ${url} is out of order (status ${asked.status}).`,
      hint: `Wait, and try again; check ${variable} if you have set it.`,
    }
  }
  return { ok: true, message: `Yoto's ${what} at ${url} answers.` }
}

/** Undefined: neither has said what its clock shows. */
function compare(...both: Asked[]): Finding | undefined {
  const ahead = both.map((asked) => ('ahead' in asked ? asked.ahead : undefined)).find((one) => one !== undefined)
  if (ahead === undefined) return undefined
  if (Math.abs(ahead) <= TOLERANCE) return { ok: true, message: "The clock agrees with Yoto's." }
  const difference = inWords(Math.abs(ahead))
  return {
    ok: false,
    message: `The clock is ${difference} ${ahead > 0 ? 'ahead of' : 'behind'} Yoto's: tokens would be renewed at the wrong time.`,
    hint: 'Set the clock by the network: `sudo timedatectl set-ntp true` on Linux, `sudo sntp -sS time.apple.com` on macOS.',
  }
}

function inWords(duration: number): string {
  const minutes = Math.round(duration / 60_000)
  if (minutes < 120) return `${minutes} minute${minutes === 1 ? '' : 's'}`
  const hours = Math.round(minutes / 60)
  return hours < 48 ? `${hours} hours` : `${Math.round(hours / 24)} days`
}
