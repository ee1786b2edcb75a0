import * as v from 'valibot'

/** Characters that RFC 6749 appendix A allows in tokens; a token is opaque, so nothing else is asked of it. */
export const Token = v.pipe(v.string(), v.regex(/^[\x20-\x7e]+$/), v.trim(), v.nonEmpty(), v.maxLength(64 * 1024))

/** Seconds; some servers send the number as a string. */
const Seconds = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.digits(), v.transform(Number))]),
  v.finite(),
  v.minValue(0),
)

/**
 * RFC 6749 5.1. `expires_in` is only recommended there: without one that can be read an hour is assumed, less than Yoto grants, since
 * a rotated refresh token must not be lost over a field that it can do without.
 */
export const TokenAnswer = v.object({
  access_token: Token,
  refresh_token: v.nullish(Token),
  expires_in: v.fallback(v.optional(v.pipe(Seconds, v.minValue(1)), 3600), 3600),
  scope: v.fallback(v.optional(v.string()), undefined),
})

/** RFC 8628 3.2; the defaults are Yoto's (yoto.dev, headless authentication). */
export const DeviceCodeAnswer = v.object({
  device_code: Token,
  user_code: v.pipe(v.string(), v.regex(/^[\x20-\x7e]{1,64}$/)),
  verification_uri: v.pipe(v.string(), v.url()),
  verification_uri_complete: v.optional(v.pipe(v.string(), v.url())),
  expires_in: v.optional(v.pipe(Seconds, v.minValue(1), v.maxValue(86_400)), 300),
  interval: v.optional(v.pipe(Seconds, v.minValue(1), v.maxValue(300)), 5),
})

/** RFC 6749 5.2. The error counts, whatever its description is. */
export const ErrorAnswer = v.object({
  error: v.string(),
  error_description: v.fallback(v.optional(v.string()), undefined),
})

/** Which fields of an answer are missing or wrong, by name; values are left out, as they may be secrets. */
export function describeIssues(issues: readonly v.BaseIssue<unknown>[]): string {
  const names = issues.map((issue) => v.getDotPath(issue as v.BaseIssue<unknown>) ?? 'a JSON object')
  return `missing or unusable: ${[...new Set(names)].join(', ')}`
}
