import type { Config } from '../config'
import { KeeperError } from '../errors'
import type { Keeper } from '../keeper/keeper'
import { isNeverSent } from '../yoto/request'
import { targetOf } from './target'

export interface Parts {
  config: Config
  keeper: Keeper
}

/** As in the Fetch standard: they would show the token, or open a way past this service. */
const REFUSED_METHODS = new Set(['CONNECT', 'TRACE', 'TRACK'])

/**
 * Where a call goes.
 * @param requestTarget as in the request line (RFC 9112 3.2)
 * @throws KeeperError `method_not_allowed`, `bad_request`, `not_found`
 */
export function destination(method: string, requestTarget: string, { config }: Parts): string {
  if (REFUSED_METHODS.has(method)) throw new KeeperError('method_not_allowed', 'This method is not passed on.')
  return targetOf(requestTarget, config.apiUrl)
}

/**
 * Makes a call with a valid token. A 401 refreshes once, naming the token that failed (rule 4), and the call is then made again, if
 * it may be.
 * @param drop ends an answer that nobody reads
 * @throws KeeperError what `Keeper.accessToken` and `send` throw
 */
export async function withToken<Answer>(
  { keeper }: Parts,
  send: (accessToken: string) => Promise<Answer>,
  options: { statusOf(answer: Answer): number | undefined; drop(answer: Answer): void; mayRepeat: boolean },
): Promise<Answer> {
  const access = await keeper.accessToken()
  const answer = await send(access.accessToken)
  if (options.statusOf(answer) !== 401) return answer
  const other = await keeper.renew(access)
  if (!other || !options.mayRepeat) return answer
  options.drop(answer)
  return send(other.accessToken)
}

/** @param reason the code of the error beneath */
export function noAnswer(reason: string | undefined): KeeperError {
  const why = reason || 'the connection broke'
  if (isNeverSent(why)) return new KeeperError('yoto_unreachable', `Yoto cannot be reached (${why}).`)
  return new KeeperError('yoto_error', `Yoto broke off (${why}); the call may have been carried out all the same.`)
}
