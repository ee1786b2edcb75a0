import { eventHandler, getQuery, sendRedirect } from 'h3'
import * as v from 'valibot'
import { takeLoginCookie } from '../../../server/access/login-cookie'
import { fromStorage, KeeperError } from '../../../server/errors'
import { useService } from '../../../server/service'

const Parameter = v.optional(v.pipe(v.string(), v.maxLength(8192)))
const Query = v.object({
  state: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  code: Parameter,
  error: Parameter,
  error_description: Parameter,
})

/** Where Yoto sends the browser back to (RFC 6749 4.1.2). Ends on the page, which has a sentence for each ending. */
export default eventHandler(async (event) => {
  const query = v.safeParse(Query, getQuery(event))
  return sendRedirect(event, `/#sign-in=${query.success ? await endingOf(query.output) : 'unexpected'}`)

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
