import { ERROR_CODES } from '../errors'
import { EVENT_KINDS } from '../keeper/journal'

/** The shapes of what the service says. Closed, so that a test notices a field that is not described. */

const text = { type: 'string' }
const time = { type: 'string', format: 'date-time' }
const uri = { type: 'string', format: 'uri' }
const yes = { type: 'boolean' }
const seconds = { type: 'integer', minimum: 0 }

/** Of which every property is there, but for the optional ones. */
function object(properties: Record<string, object>, optional: Record<string, object> = {}) {
  const required = Object.keys(properties)
  return { type: 'object', properties: { ...properties, ...optional }, required, additionalProperties: false }
}

const said = (schema: object, description: string) => ({ ...schema, description })

const handle = said(text, 'A handle of this service; Yoto’s own code never leaves it.')

const code = {
  verification_uri: said(uri, 'Where the person enters the code.'),
  verification_uri_complete: said(uri, 'The same with the code in it.'),
  user_code: said(text, 'What the person enters.'),
  device_code: handle,
}

export const schemas = {
  Error: object(
    {
      error: { enum: ERROR_CODES, description: 'For programs; message and hint are for people, and may change.' },
      message: said(text, 'What happened.'),
    },
    { hint: said(text, 'What mends it.') },
  ),

  Done: object({ success: { const: true }, message: text }),

  Token: object(
    {
      access_token: said(text, 'Send it to Yoto as Authorization: Bearer.'),
      token_type: { const: 'Bearer' },
      expires_in: said(seconds, 'Seconds left.'),
      expires_at: time,
    },
    { scope: said(text, 'What it may do, separated by spaces.') },
  ),

  Status: object(
    {
      authenticated: said(yes, 'A valid access token can be had now.'),
      message: text,
      state: { enum: ['signed_in', 'signed_out', 'needs_sign_in', 'not_configured'] },
      unattended: said(yes, 'A sign-in by code is finished, and the token renewed, though nobody asks.'),
      storage: object(
        {
          place: said(text, 'In words for people.'),
          persistent: said(yes, 'It outlasts the next deployment, and a crash of the store.'),
        },
        { warning: text },
      ),
    },
    {
      problem: { enum: ['yoto_unreachable', 'misconfigured', 'not_saved', 'not_durable'] },
      hint: said(text, 'What mends it.'),
      login: said(
        object({
          ...code,
          qr: said(text, 'verification_uri_complete as a picture, in a data: address.'),
          expires_at: time,
          interval: said(seconds, 'Seconds between two polls.'),
        }),
        'The sign-in by code that was begun last, while it is open.',
      ),
      expires_at: said(time, 'When the access token ends.'),
      refresh_at: said(time, 'When it is replaced.'),
      scope: text,
      account: said(text, 'Whose sign-in it is, as Yoto names it.'),
      redirect_uri: said(uri, 'To be registered at yoto.dev for the sign-in in the browser.'),
    },
  ),

  DeviceLogin: object({
    ...code,
    expires_in: said(seconds, 'Seconds for which the code is good.'),
    interval: said(seconds, 'Seconds between two polls.'),
  }),

  Poll: object(
    {
      status: { enum: ['pending', 'success', 'expired', 'error'], description: 'Anything but pending is final.' },
      message: text,
      authenticated: said(yes, 'A valid access token can be had now.'),
    },
    { error: said(text, 'Yoto’s code, such as access_denied.') },
  ),

  Health: object({ status: { const: 'ok' } }),

  Ready: object({ ready: { const: true } }),

  NotReady: object({
    ready: { const: false },
    reason: { enum: ['not_configured', 'storage_unavailable', 'not_saved'] },
  }),

  Doctor: object({
    checks: {
      type: 'array',
      items: object(
        {
          name: said(text, 'What was looked at; stays what it is, for programs. What does not apply is not listed.'),
          ok: yes,
          message: said(text, 'What was found.'),
        },
        { hint: said(text, 'The command or the variable that mends it; only where it is not ok.') },
      ),
    },
  }),

  Journal: object({
    events: said(
      {
        type: 'array',
        items: object(
          {
            at: time,
            kind: { enum: EVENT_KINDS },
            outcome: text,
            message: text,
          },
          { count: said(seconds, 'How often it happened in a row.'), last_at: said(time, 'When it happened last.') },
        ),
      },
      'Oldest first.',
    ),
  }),
}
