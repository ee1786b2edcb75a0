import { useNitroApp } from 'nitropack/runtime'

/**
 * AWS Lambda behind a function URL or an HTTP API, payload format 2.0 (docs.aws.amazon.com/lambda, "Invoking function URLs"). Nitro's own
 * entry takes uploads for UTF-8, repeats no query key, and does not tell who calls.
 */

interface LambdaRequest {
  version: '2.0'
  rawPath: string
  rawQueryString: string
  headers: Record<string, string>
  cookies?: string[]
  requestContext: { http: { method: string; sourceIp: string } }
  body?: string
  isBase64Encoded: boolean
}

interface LambdaResponse {
  statusCode: number
  headers: Record<string, string>
  cookies: string[]
  body: string
  isBase64Encoded: boolean
}

const nitroApp = useNitroApp()

export async function handler(request: LambdaRequest): Promise<LambdaResponse> {
  if (request.version !== '2.0') throw new Error('Set the payload format of this integration to 2.0.')
  const { rawPath, rawQueryString, headers, cookies, requestContext, body } = request
  const { method, sourceIp } = requestContext.http
  const answer = await nitroApp.localCall({
    url: rawQueryString ? `${rawPath}?${rawQueryString}` : rawPath,
    method,
    headers: { ...headers, ...(cookies && { cookie: cookies.join('; ') }) },
    body: body && Buffer.from(body, request.isBase64Encoded ? 'base64' : 'utf8'),
    context: { _platform: { clientAddress: sourceIp } }, // Nitro lays it into event.context
  })
  const { 'set-cookie': set, ...rest } = answer.headers
  return {
    statusCode: answer.status,
    headers: Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, String(value)])),
    cookies: set === undefined ? [] : [set].flat().map(String),
    ...(await encode(answer.body)),
  }
}

/** What is text here stays text; everything else goes byte for byte, whatever its type says. */
async function encode(body: unknown): Promise<Pick<LambdaResponse, 'body' | 'isBase64Encoded'>> {
  if (!body) return { body: '', isBase64Encoded: false }
  if (typeof body === 'string') return { body, isBase64Encoded: false }
  const bytes = Buffer.from(await new Response(body as BodyInit).arrayBuffer())
  return { body: bytes.toString('base64'), isBase64Encoded: true }
}
