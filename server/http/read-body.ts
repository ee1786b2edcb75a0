import { getHeader, type H3Event, readRawBody } from 'h3'
import * as v from 'valibot'
import { KeeperError } from '../errors'
import { parseJson } from '../yoto/outcome'
import { describeIssues } from '../yoto/schemas'

/** Bytes. */
const LARGEST_BODY = 16 * 1024

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

/** Counts what comes in, as content-length is only a claim; the rest of a body that is too large is thrown away unread. */
async function readLimited(event: H3Event): Promise<string> {
  const tooLarge = () => new KeeperError('too_large', `The body is larger than ${LARGEST_BODY / 1024} kB.`)
  const request = event.node.req as typeof event.node.req & { body?: unknown }
  if (Number(getHeader(event, 'content-length') ?? 0) > LARGEST_BODY) {
    request.resume?.()
    throw tooLarge()
  }
  // Where Nitro's entry has read the body already, it is there whole.
  if (request.body !== undefined) {
    const body = (await readRawBody(event, 'utf8')) ?? ''
    if (body.length > LARGEST_BODY) throw tooLarge()
    return body
  }
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = []
    let size = 0
    request.on('data', (chunk: Uint8Array) => {
      size += chunk.byteLength
      if (size > LARGEST_BODY) reject(tooLarge())
      else chunks.push(chunk)
    })
    request.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')))
    request.on('error', () => reject(new KeeperError('bad_request', 'The body broke off.')))
    request.on('close', () => reject(new KeeperError('bad_request', 'The body broke off.')))
  })
}
