import { codesOf } from '../errors'

/** What descriptions of routes share by reference, but for the schemas. */

export const securitySchemes = {
  ownerKey: {
    type: 'http',
    scheme: 'bearer',
    description: 'The value of KEEPER_KEY, or the key in the link that is printed at the start. It opens everything.',
  },
  toolKey: {
    type: 'http',
    scheme: 'bearer',
    description: 'One of KEEPER_TOOL_KEYS. It reaches /api/token and /api/yoto/ only.',
  },
  session: {
    type: 'apiKey',
    in: 'cookie',
    name: 'keeper_session',
    description: 'The cookie that /api/access/unlock sets, for calls from the service’s own page.',
  },
}

export const headers = {
  KeeperError: {
    description: 'The code of the error, on errors of this service and on no answer of Yoto’s.',
    required: true,
    schema: { type: 'string' },
  },
  RetryAfter: { description: 'Seconds after which asking again makes sense.', schema: { type: 'integer', minimum: 0 } },
}

export const responses = {
  BadRequest: failure(400, 'The query or the body is not what was expected.'),
  Unauthorized: failure(401, 'No key was shown, or a wrong one.'),
  Forbidden: failure(
    403,
    'A browser from another site, an address that is not the service’s, or a tool’s key beyond its reach.',
  ),
  NotFound: failure(404, 'There is no such thing.'),
  SignedOut: failure(409, 'Nobody is signed in, or Yoto has ended the sign-in.'),
  TooLarge: failure(413, 'The body is too large.'),
  TooManyRequests: failure(429, 'Too many wrong keys were shown, or too many sign-ins are under way.'),
  YotoError: failure(502, 'Yoto refused, or its answer made no sense; its own words are in message.'),
  Unavailable: failure(503, 'The service is not set up, its storage is away, or Yoto is.'),
  YotoTimeout: failure(504, 'Yoto took too long.'),
}

function failure(status: number, description: string) {
  return {
    description,
    headers: {
      'Keeper-Error': { $ref: '#/components/headers/KeeperError' },
      'Retry-After': { $ref: '#/components/headers/RetryAfter' },
    },
    content: {
      'application/json': {
        schema: { $ref: '#/components/schemas/Error', properties: { error: { enum: codesOf(status) } } },
      },
    },
  }
}
