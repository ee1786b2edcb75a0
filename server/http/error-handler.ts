import { H3Error, setResponseHeader, setResponseStatus } from 'h3'
import { defineNitroErrorHandler } from 'nitropack/runtime'
import { fromStorage, KeeperError } from '../errors'
import { settle } from '../service'

/** The one place where a failure becomes an answer: one shape, no stack, and the log names the path without its query. */
export default defineNitroErrorHandler(async (thrown, event) => {
  const error = asKeeperError(thrown)
  if (error.code === 'internal_error') {
    console.error(`${event.method} ${event.path.split('?')[0]}: ${(thrown.cause as Error)?.stack ?? thrown.stack}`)
  }
  if (event.handled || event.node.res.headersSent) return
  setResponseStatus(event, error.status, error.code)
  setResponseHeader(event, 'content-type', 'application/json')
  setResponseHeader(event, 'cache-control', 'no-store')
  setResponseHeader(event, 'keeper-error', error.code) // tells ours from Yoto's, which pass through
  if (error.code === 'unauthorized') setResponseHeader(event, 'www-authenticate', 'Bearer')
  if (error.retryAfter) setResponseHeader(event, 'retry-after', Math.ceil(error.retryAfter / 1000))
  await settle()
  event.node.res.end(JSON.stringify(error))
})

function asKeeperError(thrown: unknown): KeeperError {
  const cause = thrown instanceof H3Error ? (thrown.cause ?? thrown) : thrown
  const known = fromStorage(cause)
  if (known instanceof KeeperError) return known
  switch (thrown instanceof H3Error ? thrown.statusCode : 500) {
    case 400:
      return new KeeperError('bad_request', 'The request cannot be understood.')
    case 404:
      return new KeeperError('not_found', 'There is nothing at this path.')
    case 405:
      return new KeeperError('method_not_allowed', 'This path does not know this method.')
    default:
      return new KeeperError('internal_error', 'Something went wrong in the service; its log says what.')
  }
}
