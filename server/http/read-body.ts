import { getHeader, type H3Event, readRawBody } from 'h3'
import * as v from 'valibot'
import { KeeperError } from '../errors'
import { parseJson } from '../yoto/outcome'
import { describeIssues } from '../yoto/schemas'

/** Bytes. */
const LARGEST_BODY = 16 * 1024
/** Milliseconds. */
const LONGEST_REST = 1_000

/**
 * Reads a JSON body of the given shape.
 * @throws KeeperError `too_large`, `bad_request`; values are not repeated
 */
export async function readBody<Output>(event: H3Event, schema: v.GenericSchema<unknown, Output>): Promise<Output> {
  const body = parseJson(await readLimited(event))
  if (body === undefined) {
    throw new KeeperError('bad_request', 'The body is not JSON.', {
      hint: 'Send a JSON object with content-type application/json.',
    })
  }
  const parsed = v.safeParse(schema, body)
  if (!parsed.success) throw new KeeperError('bad_request', `The body does not fit: ${describeIssues(parsed.issues)}.`)
  return parsed.output
}

/** Counts what comes in, as content-length is only a claim. What is too much is thrown away. */
async function readLimited(event: H3Event): Promise<string> {
  const request = event.node.req as typeof event.node.req & { body?: unknown }
  // Where Nitro's entry has read the body already, it is there whole.
  if (request.body !== undefined) {
    const body = (await readRawBody(event, 'utf8')) ?? ''
    if (body.length > LARGEST_BODY) throw tooLarge()
    return body
  }
  if (Number(getHeader(event, 'content-length') ?? 0) > LARGEST_BODY) {
    request.resume()
    await rest(request)
    throw tooLarge()
  }
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = []
    let size = 0
    request.on('data', (chunk: Uint8Array) => {
      const fitted = size <= LARGEST_BODY
      size += chunk.byteLength
      if (size <= LARGEST_BODY) chunks.push(chunk)
      else if (fitted) rest(request).then(() => reject(tooLarge()))
    })
    request.on('end', () => size <= LARGEST_BODY && resolve(Buffer.concat(chunks).toString('utf8')))
    request.on('error', () => reject(new KeeperError('bad_request', 'The body broke off.')))
    request.on('close', () => size <= LARGEST_BODY && reject(new KeeperError('bad_request', 'The body broke off.')))
  })
}

function tooLarge(): KeeperError {
  return new KeeperError('too_large', `The body is larger than ${LARGEST_BODY / 1024} kB.`)
}

/** Many callers listen only when they have sent everything; the others are not waited for. */
async function rest(request: H3Event['node']['req']): Promise<void> {
  if (request.complete) return
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer)
      resolve()
    }
    const timer = setTimeout(done, LONGEST_REST)
    request.once('end', done).once('close', done)
  })
}
