import { eventHandler, getQuery, setResponseHeader } from 'h3'
import Negotiator from 'negotiator'
import { defineRouteMeta } from 'nitropack/runtime'
import * as v from 'valibot'
import { KeeperError } from '../../server/errors'
import type { Access } from '../../server/keeper/keeper'
import { useService } from '../../server/service'

const TEXT = 'text/plain; charset=utf-8'
const MinTtl = v.optional(v.pipe(v.string(), v.digits(), v.transform(Number), v.maxValue(86_400 * 365)))

defineRouteMeta({
  openAPI: {
    operationId: 'token',
    tags: ['Yoto'],
    summary: 'A valid access token',
    description:
      'Ask every time, and keep none: the answer comes from memory, and the token is renewed ahead of its end.',
    security: [{ ownerKey: [] }, { toolKey: [] }, { session: [] }],
    parameters: [
      {
        name: 'min_ttl',
        in: 'query',
        description: 'Seconds that it should have left, as far as Yoto issues such; expires_in says how many it has.',
        schema: { type: 'integer', minimum: 0, maximum: 31536000 },
      },
    ],
    responses: {
      200: {
        description: 'The token; bare for those who prefer text/plain.',
        headers: { Vary: { required: true, schema: { type: 'string' } } },
        content: {
          'application/json': { schema: { $ref: '#/components/schemas/Token' } },
          'text/plain': { schema: { type: 'string' } },
        },
      },
      400: { $ref: '#/components/responses/BadRequest' },
      409: { $ref: '#/components/responses/SignedOut' },
      502: { $ref: '#/components/responses/YotoError' },
      503: { $ref: '#/components/responses/Unavailable' },
      504: { $ref: '#/components/responses/YotoTimeout' },
    },
  },
})

/**
 * A valid access token: as JSON (RFC 6749 5.1, without the refresh token), or bare for those who prefer text/plain. `?min_ttl=`: seconds
 * it should have left, as far as Yoto issues such; `expires_in` says how many it has.
 */
export default eventHandler(async (event) => {
  const asked = event.path.includes('?') ? getQuery(event).min_ttl : undefined
  const minTtl = v.safeParse(MinTtl, asked)
  if (!minTtl.success) throw new KeeperError('bad_request', 'min_ttl must be a whole number of seconds.')
  const { keeper } = await useService()
  const access = await keeper.accessToken((minTtl.output ?? 0) * 1000)
  setResponseHeader(event, 'vary', 'accept')
  if (prefersText(event.node.req.headers.accept)) {
    setResponseHeader(event, 'content-type', TEXT)
    return access.accessToken
  }
  setResponseHeader(event, 'content-type', 'application/json')
  return jsonOf(access)
})

/** The latest answer: for a second it is the same for everybody. */
let latest: { accessToken: string; expiresIn: number; json: string } | undefined

function jsonOf({ accessToken, expiresAt, timeLeft, scope }: Access): string {
  const expiresIn = Math.max(0, Math.floor(timeLeft / 1000))
  if (latest?.expiresIn === expiresIn && latest.accessToken === accessToken) return latest.json
  const json = JSON.stringify({
    access_token: accessToken,
    token_type: 'Bearer',
    expires_in: expiresIn,
    expires_at: new Date(expiresAt).toISOString(),
    scope,
  })
  latest = { accessToken, expiresIn, json }
  return json
}

/** RFC 9110 12.5.1; whoever asks for neither, or for both alike, gets JSON. */
function prefersText(accept: string | undefined): boolean {
  if (!accept || accept === '*/*') return false // as most do: it need not be taken apart
  return new Negotiator({ headers: { accept } }).mediaType(['application/json', TEXT]) === TEXT
}
