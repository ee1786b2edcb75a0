import { ofetch } from 'ofetch'
import type { Config } from '../config'
import { causeCode } from '../yoto/request'
import type { Condition } from './condition'

/** Milliseconds for a whole exchange. */
const TIME_LIMIT = 5_000

/** The JSON that is sent. Our own words only: neither Yoto's nor a path, as whoever knows an ntfy topic reads along. */
export interface Notice {
  title: string
  message: string
  condition: Condition
  /** When it began; ISO 8601 in UTC. */
  at: string
  hint?: string
  /** Of the page. */
  url?: string
}

const WORDS: Record<Condition, { title: string; message: string; hint?: string }> = {
  lost: {
    title: 'Yoto: sign in again',
    message: 'The sign-in to Yoto is lost, and the token can no longer be renewed.',
    hint: 'Sign in again on the page.',
  },
  not_saved: {
    title: 'Yoto: the sign-in cannot be saved',
    message: 'The place where the sign-in is kept cannot be read or written. At the next restart it may be lost.',
    hint: 'The page says what is wrong.',
  },
  running_out: {
    title: 'Yoto: the token is running out',
    message: 'Yoto has not renewed the access token, which has run out or is about to.',
    hint: 'It goes on by itself when Yoto can be reached; look whether the network here is at fault.',
  },
  well: {
    title: 'Yoto: all is well again',
    message: 'The sign-in to Yoto works again and is saved. Nothing needs to be done.',
  },
}

/** @param hint what mends this very case, where that is known */
export function noticeOf(condition: Condition, at: string, { publicUrls }: Config, hint?: string): Notice {
  const [address] = publicUrls
  return { ...WORDS[condition], ...(hint && { hint }), condition, at, url: address && new URL(address).href }
}

/**
 * Sends a notice by one POST. ntfy would show the JSON as it is; with `Template` it takes title and message from the headers, as
 * templates over the JSON that have nothing to fill in (ntfy's docs/publish.md, "Message templating"; older ones take the title).
 * Redirects are not followed; as an answer like any other they are named by their status. Never throws.
 * @returns why it has not arrived, without the address; undefined when it has
 */
export async function send(url: string, notice: Notice, stopped: AbortSignal): Promise<string | undefined> {
  const tooLate = AbortSignal.timeout(TIME_LIMIT)
  try {
    const response = await ofetch.raw<ReadableStream, 'stream'>(url, {
      method: 'POST',
      body: JSON.stringify(notice),
      headers: {
        'content-type': 'application/json',
        title: headerOf(notice.title),
        message: headerOf([notice.message, notice.hint].filter(Boolean).join(' ')),
        template: 'yes',
        ...(notice.url && { click: notice.url }),
      },
      redirect: 'manual',
      retry: 0,
      signal: AbortSignal.any([tooLate, stopped]),
      responseType: 'stream',
      ignoreResponseError: true,
    })
    response._data?.cancel().catch(() => {})
    return response.ok ? undefined : `it answered ${response.status}`
  } catch (error) {
    return tooLate.aborted ? 'no answer within 5 seconds' : causeCode(error) || 'the connection broke'
  }
}

/** Printable ASCII, and without the braces of a template. */
function headerOf(text: string): string {
  return text.replace(/[^\x20-\x7e]|[{}]/g, ' ')
}
