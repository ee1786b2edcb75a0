import { getRequestProtocol, type H3Event, setResponseHeader } from 'h3'

const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ')

const HEADERS = Object.entries({
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
})

/** On every answer, errors included. Only the page's own files may be stored, and they say so themselves. */
export function setSecurityHeaders(event: H3Event): void {
  for (const [name, value] of HEADERS) setResponseHeader(event, name, value)
  if (getRequestProtocol(event) === 'https') {
    setResponseHeader(event, 'strict-transport-security', 'max-age=31536000')
  }
}
