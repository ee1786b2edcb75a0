import { type FetchError, ofetch } from 'ofetch'

/** Milliseconds for a whole exchange, the answer's body included. */
const TIME_LIMIT = 5_000
/** Bytes; Yoto's answers have 3 kB. */
const LARGEST_ANSWER = 64 * 1024

/** What came back from the authorization server, or why nothing did. */
export type Answer =
  | { kind: 'answer'; status: number; retryAfter?: string; text: string }
  /** The request cannot have arrived: no name, no route, no connection, no TLS. */
  | { kind: 'not_sent'; reason: string }
  /** It may have arrived, and what came of it is not known. */
  | { kind: 'lost'; reason: string; timeout: boolean }

/**
 * One form-encoded POST to the authorization server (RFC 6749 appendix B). Redirects are not followed: a token must not go
 * anywhere else. Never throws.
 */
export async function post(url: string, form: Record<string, string | undefined>): Promise<Answer> {
  const fields = Object.entries(form).filter((field): field is [string, string] => field[1] !== undefined)
  const signal = AbortSignal.timeout(TIME_LIMIT)
  try {
    const response = await ofetch.raw<ReadableStream<Uint8Array>, 'stream'>(url, {
      method: 'POST',
      body: new URLSearchParams(fields),
      headers: { accept: 'application/json' },
      redirect: 'manual',
      retry: 0,
      signal,
      responseType: 'stream',
      ignoreResponseError: true,
    })
    const text = await readLimited(response._data)
    return {
      kind: 'answer',
      status: response.status,
      retryAfter: response.headers.get('retry-after') ?? undefined,
      // An error that quotes what was sent must not carry it into a log.
      text: response.ok ? text : withoutSecrets(text, fields),
    }
  } catch (error) {
    if (signal.aborted) return { kind: 'lost', timeout: true, reason: 'no answer within 5 seconds' }
    const code = causeCode(error)
    if (isNeverSent(code)) return { kind: 'not_sent', reason: code }
    return { kind: 'lost', timeout: false, reason: code || 'the connection broke' }
  }
}

async function readLimited(body: ReadableStream<Uint8Array> | undefined): Promise<string> {
  if (!body) return ''
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (let size = 0; ; ) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    size += value.byteLength
    if (size > LARGEST_ANSWER) {
      reader.cancel().catch(() => {})
      return '' // an answer all the same, but none that can be read
    }
    text += decoder.decode(value, { stream: true })
  }
}

function withoutSecrets(text: string, fields: [string, string][]): string {
  const secrets = fields.filter(([name]) => /token|secret|code/.test(name)).map(([, value]) => value)
  return secrets
    .filter((secret) => secret.length >= 8)
    .reduce((rest, secret) => rest.replaceAll(secret, '[hidden]'), text)
}

/** System and TLS errors that come before the first byte of a request. */
const NEVER_SENT =
  /^(ENOTFOUND|EAI_AGAIN|EAI_NODATA|ECONNREFUSED|ConnectionRefused|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|UND_ERR_CONNECT_TIMEOUT|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS|ERR_SSL)/

/** Whether this error means that nothing has arrived at the other side. */
export function isNeverSent(code: string): boolean {
  return NEVER_SENT.test(code)
}

/** The code of the error beneath: a system's or TLS's. Its message would name the address. */
export function causeCode(error: unknown): string {
  for (let cause = error as (FetchError & { code?: unknown }) | undefined; cause; cause = cause.cause as typeof cause) {
    if (typeof cause.code === 'string') return cause.code
  }
  return ''
}
