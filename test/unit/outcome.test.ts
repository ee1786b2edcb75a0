import { describe, expect, it } from 'vitest'
import { classifyPoll } from '../../server/yoto/device-code'
import { classify } from '../../server/yoto/outcome'
import type { Answer } from '../../server/yoto/request'

const NOW = Date.parse('2026-11-01T12:00:00Z')
const HTML = '<!DOCTYPE html><h1>Blocked by the firewall</h1>'
const GOOD = { access_token: 'at', refresh_token: 'rt', expires_in: 86_400, scope: 'offline_access' }
const WITHOUT_EXPIRY = { access_token: 'at', refresh_token: 'rt' }

function answer(status: number, body: unknown = '', retryAfter?: string): Answer {
  return { kind: 'answer', status, text: typeof body === 'string' ? body : JSON.stringify(body), retryAfter }
}
const said = (status: number, error: string, retryAfter?: string) => answer(status, { error }, retryAfter)

describe('tokens', () => {
  it.each([
    ['200', answer(200, GOOD)],
    ['201', answer(201, GOOD)],
    ['unknown fields', answer(200, { ...GOOD, error: 'invalid_grant', id_token: 'x' })],
    ['expires_in as a string', answer(200, { ...GOOD, expires_in: '86400' })],
    ['white space around the body', answer(200, `\n ${JSON.stringify(GOOD)} \n`)],
    ['white space around the tokens', answer(200, { ...GOOD, access_token: ' at ', refresh_token: 'rt\x20' })],
  ])('come out of an answer with %s', (_, given) => {
    const tokens = { accessToken: 'at', refreshToken: 'rt', expiresIn: 86_400_000, scope: 'offline_access' }
    expect(classify(given, NOW)).toEqual({ meaning: 'tokens', tokens })
    expect(classifyPoll(given, NOW)).toEqual({ meaning: 'tokens', tokens })
  })

  it.each([
    ['missing', {}],
    ['null', { expires_in: null }],
    ['negative', { expires_in: -1 }],
    ['a word', { expires_in: 'soon' }],
    ['an empty string', { expires_in: '' }],
    ['an object', { expires_in: {} }],
  ])('live an hour when expires_in is %s, rather than be lost', (_, fields) => {
    const outcome = classify(answer(200, { ...WITHOUT_EXPIRY, ...fields }), NOW)
    expect(outcome).toMatchObject({ meaning: 'tokens', tokens: { refreshToken: 'rt', expiresIn: 3_600_000 } })
  })

  it.each([8.7e12, 1e300, '9'.repeat(20), '9'.repeat(400)])(
    'end at a moment that can be stored: %s s',
    (expires_in) => {
      const outcome = classify(answer(200, { ...WITHOUT_EXPIRY, expires_in }), NOW)
      if (outcome.meaning !== 'tokens') throw new Error(outcome.meaning)
      expect(new Date(NOW + outcome.tokens.expiresIn).getTime()).toBeGreaterThan(NOW)
    },
  )

  it.each([
    ['refresh token is missing', { refresh_token: undefined }, { refreshToken: undefined }],
    ['scope is missing', { scope: undefined }, { scope: undefined }],
    ['scope is null', { scope: null }, { scope: undefined }],
    ['scope is a list', { scope: ['offline_access'] }, { scope: undefined }],
  ])('are tokens when the %s', (_, fields, expected) => {
    expect(classify(answer(200, { ...GOOD, ...fields }), NOW)).toMatchObject({ meaning: 'tokens', tokens: expected })
  })
})

describe('an answer of 200 that cannot be read', () => {
  const NOT_JSON: [string, unknown][] = [
    ['nothing', ''],
    ['null', 'null'],
    ['a number', '7'],
    ['a string', '"at"'],
    ['HTML', HTML],
    ['cut JSON', JSON.stringify(GOOD).slice(0, 40)],
  ]
  const LACKING: [string, unknown, string][] = [
    ['an array', [GOOD], 'access_token'],
    ['an empty object', {}, 'access_token'],
    ['no access token', { ...GOOD, access_token: undefined }, 'access_token'],
    ['an empty access token', { ...GOOD, access_token: '' }, 'access_token'],
    ['a blank access token', { ...GOOD, access_token: '  ' }, 'access_token'],
    ['a number as access token', { ...GOOD, access_token: 7 }, 'access_token'],
    ['a line break in the access token', { ...GOOD, access_token: 'a\nt' }, 'access_token'],
    ['an object as refresh token', { ...GOOD, refresh_token: {} }, 'refresh_token'],
    ['a huge refresh token', { ...GOOD, refresh_token: 'x'.repeat(70_000) }, 'refresh_token'],
  ]

  it.each(NOT_JSON)('%s: unknown, as the token may have rotated', (_, body) => {
    const expected = { meaning: 'unknown', code: 'yoto_error', message: expect.stringContaining('a JSON object') }
    expect(classify(answer(200, body), NOW)).toEqual(expected)
    expect(classifyPoll(answer(200, body), NOW)).toEqual(expected)
  })

  it.each(LACKING)('%s: says which field; a code is spent by it', (_, body, field) => {
    const message = `Yoto's answer cannot be read (missing or unusable: ${field}).`
    expect(classify(answer(200, body), NOW)).toEqual({ meaning: 'unknown', code: 'yoto_error', message })
    expect(classifyPoll(answer(200, body), NOW)).toEqual({ meaning: 'unusable', error: 'yoto_error', message })
  })

  it('names every field, and no value', () => {
    const { message } = classify(answer(200, { access_token: 7, refresh_token: ['hush'] }), NOW) as { message: string }
    expect(message).toContain('access_token, refresh_token')
    expect(message).not.toContain('hush')
  })
})

/** [what came, the meaning for a refresh, the meaning for a poll where it is another] */
const REFUSALS: [name: string, given: Answer, forRefresh: object, forPoll?: object][] = [
  // the error field decides, and not the status
  ...[400, 401, 403, 429, 500].map((status): [string, Answer, object] => [
    `${status} invalid_grant`,
    said(status, 'invalid_grant'),
    { meaning: 'refused', error: 'invalid_grant' },
  ]),
  ...[400, 403, 429].flatMap((status): [string, Answer, object, object][] => {
    const other = { meaning: status === 429 ? 'not_now' : 'misconfigured' }
    return [
      [`${status} authorization_pending`, said(status, 'authorization_pending'), other, { meaning: 'pending' }],
      [`${status} slow_down`, said(status, 'slow_down'), other, { meaning: 'slow_down' }],
      [`${status} expired_token`, said(status, 'expired_token'), other, { meaning: 'expired', error: 'expired_token' }],
      [`${status} access_denied`, said(status, 'access_denied'), other, { meaning: 'denied', error: 'access_denied' }],
    ]
  }),
  ['401 invalid_client', said(401, 'invalid_client'), { meaning: 'misconfigured', error: 'invalid_client' }],
  ['403 unauthorized_client', said(403, 'unauthorized_client'), { meaning: 'misconfigured' }],
  ['400 invalid_scope', said(400, 'invalid_scope'), { meaning: 'misconfigured', error: 'invalid_scope' }],
  ['403 HTML', answer(403, HTML), { meaning: 'misconfigured', error: undefined }],
  ['403 with an unknown error', said(403, 'something_new'), { meaning: 'misconfigured', error: 'something_new' }],
  ['400 with an error that is an object', answer(400, { error: { code: 1 } }), { meaning: 'misconfigured' }],
  ['404', answer(404), { meaning: 'misconfigured' }],
  ['405', answer(405, HTML), { meaning: 'misconfigured' }],
  ['503 without Retry-After', answer(503), { meaning: 'unknown', code: 'yoto_error' }],
  ['503 with Retry-After', answer(503, HTML, '30'), { meaning: 'not_now', retryAfter: 30_000 }],
  ['500', answer(500), { meaning: 'unknown', code: 'yoto_error' }],
  ['500 server_error', said(500, 'server_error'), { meaning: 'unknown', code: 'yoto_error' }],
  ['502 HTML', answer(502, HTML), { meaning: 'unknown', code: 'yoto_error' }],
  ['302', answer(302), { meaning: 'unknown', code: 'yoto_error' }],
  ['307', answer(307, GOOD), { meaning: 'unknown', code: 'yoto_error' }],
  ['a lost answer', { kind: 'lost', reason: 'ECONNRESET', timeout: false }, { code: 'yoto_unreachable' }],
  ['no answer in time', { kind: 'lost', reason: 'no answer', timeout: true }, { code: 'yoto_timeout' }],
  ['no connection', { kind: 'not_sent', reason: 'ECONNREFUSED' }, { meaning: 'not_sent' }],
]

describe('everything else', () => {
  it.each(REFUSALS)('%s', (_, given, forRefresh, forPoll = forRefresh) => {
    expect(classify(given, NOW)).toMatchObject(forRefresh)
    expect(classifyPoll(given, NOW)).toMatchObject(forPoll)
  })

  it.each([
    ['a number', 7],
    ['null', null],
    ['an object', {}],
  ])('an error counts when its description is %s', (_, error_description) => {
    const given = (error: string) => answer(403, { error, error_description })
    expect(classify(given('invalid_grant'), NOW)).toMatchObject({ meaning: 'refused' })
    expect(classifyPoll(given('access_denied'), NOW)).toMatchObject({ meaning: 'denied' })
    expect(classifyPoll(given('authorization_pending'), NOW)).toMatchObject({ meaning: 'pending' })
  })

  it.each([
    ['invalid_client', 'YOTO_CLIENT_SECRET'],
    ['unauthorized_client', '"Device Code" and "Refresh Token"'],
    ['invalid_scope', 'YOTO_SCOPE'],
    ['access_denied', 'YOTO_SCOPE'],
    ['something_new', 'YOTO_AUTH_URL'],
  ])('%s comes with its mend', (error, mend) => {
    expect(classify(said(403, error), NOW)).toMatchObject({ hint: expect.stringContaining(mend) })
  })
})

describe('Retry-After', () => {
  const MINUTE = 60_000
  const HOUR = 3_600_000
  it.each([
    ['is missing', undefined, MINUTE],
    ['is in seconds', '120', 120_000],
    ['has white space around it', ' 120 ', 120_000],
    ['is zero', '0', 1_000],
    ['is huge', '999999999999', HOUR],
    ['is endless', '9'.repeat(400), HOUR],
    ['is a date', new Date(NOW + 90_000).toUTCString(), 90_000],
    ['is a date in the past', new Date(NOW - 90_000).toUTCString(), 1_000],
    ['is a date next year', new Date(NOW + 400 * 24 * HOUR).toUTCString(), HOUR],
    ['is a word', 'soon', MINUTE],
    ['is empty', '', MINUTE],
    ['is negative', '-5', MINUTE],
    ['is a fraction', '1.5', MINUTE],
  ])('%s', (_, header, retryAfter) => {
    expect(classify(answer(429, '', header), NOW)).toMatchObject({ meaning: 'not_now', retryAfter })
  })
})

describe("Yoto's own words", () => {
  const messageOf = (body: object, status = 403) => (classify(answer(status, body), NOW) as { message: string }).message

  it('are passed on', () => {
    const body = { error: 'invalid_grant', error_description: 'Unknown or invalid refresh token.' }
    expect(messageOf(body)).toBe('Yoto answered 403 invalid_grant: Unknown or invalid refresh token.')
    expect(messageOf({}, 404)).toBe('Yoto answered 404.')
    expect(classifyPoll(answer(403, { ...body, error: 'access_denied' }), NOW)).toMatchObject({
      message: 'Yoto says that access was denied: Unknown or invalid refresh token.',
    })
  })

  it('are shortened', () => {
    const message = messageOf({ error: 'e'.repeat(5_000), error_description: 'd'.repeat(5_000) })
    expect(message).toBe(`Yoto answered 403 ${'e'.repeat(60)}: ${'d'.repeat(300)}`)
  })

  it('are made printable', () => {
    const message = messageOf({ error: 'a\nb', error_description: '\x1b[31mred\r\n\u202Eüber\0 <b>' })
    expect(message).toBe('Yoto answered 403 a b: [31mred ber  <b>')
    expect(message).toMatch(/^[\x20-\x7e]+$/)
  })
})
