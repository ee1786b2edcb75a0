import { type H3Event, readRawBody } from 'h3'
import { KeeperError } from '../errors'
import { pathOf } from '../http/path-of'
import { PAGE_FILES } from '../page/files'

/** What the Worker answers by itself; the page asks for the rest. */
const STATELESS = new Set([...PAGE_FILES, '/api/health'])

/** What Nitro's entry for Cloudflare gives along: within the object `durable`, in the Worker in front of it the way there. */
interface Cloudflare {
  request: Request
  durable?: object
  durableFetch?: (request: Request) => Promise<Response>
}

/**
 * On Cloudflare one Durable Object keeps the state and is the only one to change it: it answers, and the Worker hands on.
 * @returns its answer; undefined where this is the object itself, or no state is needed
 * @throws KeeperError `storage_unavailable`
 */
export async function forward(event: H3Event): Promise<Response | undefined> {
  const { request, durable, durableFetch } = event.context.cloudflare as Cloudflare
  if (durable || !durableFetch || STATELESS.has(pathOf(event))) return
  return durableFetch(await copyOf(event, request)).catch((error) => {
    console.error(`${event.method} ${pathOf(event)}: ${error.message}`)
    throw new KeeperError('storage_unavailable', 'The Durable Object cannot be reached.', {
      hint: 'Try again in a few seconds.',
      retryAfter: 1_000,
    })
  })
}

/** Of some methods Nitro has read the body by now. A redirect is for the caller to follow. */
async function copyOf(event: H3Event, request: Request): Promise<Request> {
  if (!request.bodyUsed) return new Request(request, { redirect: 'manual' })
  const body = await readRawBody(event, false)
  const { url, method, headers } = request
  return new Request(url, { method, headers, body: body && new Uint8Array(body), redirect: 'manual' })
}
