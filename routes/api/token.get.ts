import { eventHandler, getQuery } from 'h3'
import * as v from 'valibot'
import { KeeperError } from '../../server/errors'
import { useService } from '../../server/service'

const MinTtl = v.optional(v.pipe(v.string(), v.digits(), v.transform(Number), v.maxValue(86_400 * 365)))

/** A valid access token (RFC 6749 5.1, without the refresh token). `?min_ttl=`: seconds it should have left. */
export default eventHandler(async (event) => {
  const minTtl = v.safeParse(MinTtl, getQuery(event).min_ttl)
  if (!minTtl.success) throw new KeeperError('bad_request', 'min_ttl must be a whole number of seconds.')
  const { keeper } = await useService()
  const set = await keeper.accessToken((minTtl.output ?? 0) * 1000)
  return {
    access_token: set.accessToken,
    token_type: 'Bearer',
    expires_in: Math.max(0, Math.floor(keeper.snapshot().timeLeft / 1000)),
    expires_at: new Date(set.expiresAt).toISOString(),
    scope: set.scope,
  }
})
