import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'

/** Of the caller's headers these stay here: who calls and from where is not Yoto's business. */
const STAYING = new Set([
  ...[
    'authorization',
    'cookie',
    'x-api-key',
    'origin',
    'referer',
    'host',
    'forwarded',
    'via',
    'cdn-loop',
    'x-dev-peer',
  ],
  // Meant for the next server alone (RFC 9110 7.6.1).
  ...['connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect', 'http2-settings'],
])
/** What proxies, platforms and browsers add. */
const STAYING_KINDS =
  /^(x-(forwarded|real|client|cluster-client|original|envoy|railway|vercel|nf|amzn?)|cf|fly|fastly|true-client|proxy|sec|access-control)-/

/** What may come back: nothing that would set a cookie, steer a browser or speak for this service. */
const RETURNING = new Set([
  ...['content-type', 'content-length', 'content-encoding', 'content-language', 'content-disposition', 'content-range'],
  ...['content-digest', 'repr-digest', 'accept-ranges', 'etag', 'last-modified', 'location', 'retry-after', 'allow'],
  ...['x-request-id', 'ratelimit', 'ratelimit-policy', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset'],
  ...['x-ratelimit-limit', 'x-ratelimit-remaining', 'x-ratelimit-reset'],
])

/** The headers that go to Yoto: the caller's, without what stays here, and with the access token. */
export function requestHeaders(headers: IncomingHttpHeaders, accessToken: string): OutgoingHttpHeaders {
  const named = new Set((headers.connection ?? '').toLowerCase().split(/[\s,]+/))
  const passed = Object.entries(headers).filter(
    ([name]) => !STAYING.has(name) && !STAYING_KINDS.test(name) && !named.has(name),
  )
  return { ...Object.fromEntries(passed), authorization: `Bearer ${accessToken}` }
}

/** The headers that come back from Yoto. */
export function responseHeaders(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => RETURNING.has(name)))
}
