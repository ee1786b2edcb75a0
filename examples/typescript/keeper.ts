/**
 * Asks the keeper for a token, or lets it carry a call to Yoto. No dependency; put this file beside your program, and set KEEPER_URL and
 * KEEPER_KEY (a tool's key is enough).
 */

/** What went wrong, in the keeper's words; `code` is the keeper's, where the answer was its own. */
export class KeeperError extends Error {
  status: number | undefined
  code: string | undefined

  constructor(message: string, status?: number, code?: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** A valid access token, with so many seconds left at least where Yoto has such. Ask when you need one: the answer comes from memory. */
export async function token(minTtl = 0): Promise<string> {
  const response = await call(`/api/token?min_ttl=${minTtl}`, { headers: { accept: 'text/plain' } })
  return response.text()
}

/** A call to Yoto's API, which the keeper gives a token on the way. Bodies stream in both directions. */
export const yoto = (path: string, init?: RequestInit): Promise<Response> => call(`/api/yoto${path}`, init)

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const url = setting('KEEPER_URL').replace(/\/$/, '')
  const headers = new Headers(init.headers)
  // fetch takes this header off where a redirect leads to another origin (Fetch standard, HTTP-redirect fetch): the key stays here.
  headers.set('authorization', `Bearer ${setting('KEEPER_KEY')}`)
  const response = await fetch(url + path, { ...init, headers }).catch((error: Error) => {
    const reason = error.cause instanceof Error ? error.cause.message || error.cause.name : error.message
    throw new KeeperError(`The keeper at ${url} does not answer: ${reason}`)
  })
  if (response.ok) return response

  // The header tells the keeper's own answers from Yoto's, which pass through it.
  const code = response.headers.get('keeper-error') ?? undefined
  const text = await response.text()
  if (!code) throw new KeeperError(`Yoto answered ${response.status}: ${text.slice(0, 300)}`, response.status)
  const { message, hint } = JSON.parse(text) as { message: string; hint?: string }
  throw new KeeperError(hint ? `${message} ${hint}` : message, response.status, code)
}

function setting(name: string): string {
  const value = process.env[name]?.trim() ?? ''
  // Checked here, because fetch shows a header that it refuses, and with it the key.
  if (!/^[\x21-\x7e]+$/.test(value)) throw new KeeperError(`Set ${name}: printable ASCII without spaces.`)
  return value
}
