// @ts-check
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

/**
 * A function's built output as its platform would call it, behind HTTP: one isolate, in a process of its own.
 *
 * Arguments: the platform, and the output's entry. The port goes to whoever forked it; who calls comes in `x-peer`.
 */

/** @typedef {(request: import('node:http').IncomingMessage, response: import('node:http').ServerResponse, peer: string) => unknown} Listener */

/** @type {Record<string, (entry: any) => Listener>} */
const platforms = {
  /** A Node listener (vercel.com/docs/functions/runtimes/node-js). The edge overwrites these headers. */
  vercel: (entry) => (request, response, peer) => {
    Object.assign(request.headers, { 'x-real-ip': peer, 'x-forwarded-for': peer })
    return entry.default(request, response)
  },

  /** Request to Response (docs.netlify.com/functions/api). */
  netlify: (entry) => async (request, response, peer) => {
    const headers = new Headers()
    for (const [name, value] of pairs(request.rawHeaders)) headers.append(name, value)
    headers.set('x-nf-client-connection-ip', peer)
    const body = ['GET', 'HEAD'].includes(request.method ?? '') ? undefined : await readAll(request)
    const url = `http://${request.headers.host}${request.url}`
    const answer = await entry.default(new Request(url, { method: request.method, headers, body }), { ip: peer })
    response.writeHead(answer.status, [...answer.headers].flat())
    if (answer.body) await pipeline(Readable.fromWeb(answer.body), response).catch(() => response.destroy())
    else response.end()
  },

  /** Payload format 2.0 (docs.aws.amazon.com/lambda, "Invoking function URLs"). */
  'aws-lambda': (entry) => async (request, response, peer) => {
    const { cookie, ...headers } = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    )
    const [rawPath = '', ...rest] = (request.url ?? '').split('?')
    const body = await readAll(request)
    const isBase64Encoded = !/^(text\/|application\/(json|xml|javascript))/.test(headers['content-type'] ?? '')
    const answer = await entry.handler(
      {
        version: '2.0',
        routeKey: '$default',
        rawPath,
        rawQueryString: rest.join('?'),
        cookies: cookie?.split('; '),
        headers,
        requestContext: { http: { method: request.method, path: rawPath, protocol: 'HTTP/1.1', sourceIp: peer } },
        body: body.length > 0 ? body.toString(isBase64Encoded ? 'base64' : 'utf8') : undefined,
        isBase64Encoded,
      },
      {},
    )
    const returned = JSON.parse(JSON.stringify(answer)) // what is no JSON does not come back
    response.writeHead(returned.statusCode, { ...returned.headers, 'set-cookie': returned.cookies ?? [] })
    response.end(Buffer.from(returned.body ?? '', returned.isBase64Encoded ? 'base64' : 'utf8'))
  },
}

/** @param {string[]} raw @returns {[string, string][]} */
function pairs(raw) {
  return raw.flatMap((name, at) => (at % 2 === 0 ? [[name, raw[at + 1] ?? '']] : []))
}

/** @param {Readable} stream */
async function readAll(stream) {
  return Buffer.concat(await stream.toArray())
}

const [, , platform = '', entry = ''] = process.argv
const listen = platforms[platform]?.(await import(entry))
const server = createServer(async (request, response) => {
  const peer = String(request.headers['x-peer'])
  delete request.headers['x-peer']
  try {
    await listen?.(request, response, peer)
  } catch (error) {
    console.error(error)
    if (!response.headersSent) response.writeHead(502)
    response.end()
  }
})
server.listen(0, '127.0.0.1', () => process.send?.(server.address()))
