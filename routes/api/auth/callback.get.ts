import { eventHandler, getQuery, sendRedirect } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import * as v from 'valibot'
import { takeLoginCookie } from '../../../server/access/login-cookie'
import { fromStorage, KeeperError } from '../../../server/errors'
import { settle, useService } from '../../../server/service'

const Parameter = v.optional(v.pipe(v.string(), v.maxLength(8192)))
const Query = v.object({
  state: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  code: Parameter,
  error: Parameter,
  error_description: Parameter,
})

defineRouteMeta({
  openAPI: {
    operationId: 'callback',
    tags: ['Sign-in'],
    summary: 'Take the browser back from Yoto',
    description: 'Yoto sends it here. Its proof is the cookie that login has set, good for one use, and not a key.',
    security: [],
    parameters: [
      { name: 'state', in: 'query', description: 'As login gave it to Yoto.', schema: { type: 'string' } },
      { name: 'code', in: 'query', description: 'What Yoto gives out tokens for.', schema: { type: 'string' } },
      { name: 'error', in: 'query', description: 'Why Yoto gave none.', schema: { type: 'string' } },
      { name: 'error_description', in: 'query', schema: { type: 'string' } },
    ],
    responses: {
      302: {
        description: 'To the page, which says how it ended.',
        headers: { Location: { required: true, schema: { type: 'string', format: 'uri-reference' } } },
      },
      503: { $ref: '#/components/responses/Unavailable' },
    },
  },
})

/** Where Yoto sends the browser back to (RFC 6749 4.1.2). Ends on the page, which has a sentence for each ending. */
export default eventHandler(async (event) => {
  const query = v.safeParse(Query, getQuery(event))
  const ending = query.success ? await endingOf(query.output) : 'unexpected'
  await settle()
  return sendRedirect(event, `/#sign-in=${ending}`)

  async function endingOf({ state, code, error, error_description }: v.InferOutput<typeof Query>) {
    const secret = takeLoginCookie(event, state)
    const { browserLogins } = await useService()
    return browserLogins
      .finish({ state, secret, code, error, errorDescription: error_description })
      .catch((thrown: unknown) => {
        if (fromStorage(thrown) instanceof KeeperError) return 'failed'
        throw thrown
      })
  }
})
