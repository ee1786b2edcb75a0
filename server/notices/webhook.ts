import { ofetch } from 'ofetch'
import { causeCode } from '../yoto/request'
import type { Notice } from './notice'

/** Milliseconds for a whole exchange. */
const TIME_LIMIT = 5_000

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
