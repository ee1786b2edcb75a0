import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import * as v from 'valibot'
import { callerAddress } from '../../../server/access/caller-address'
import { setSessionCookie } from '../../../server/access/session-cookie'
import { KeeperError } from '../../../server/errors'
import { readBody } from '../../../server/http/read-body'
import { useService } from '../../../server/service'

const Body = v.object({ key: v.string() })

defineRouteMeta({
  openAPI: {
    operationId: 'unlock',
    tags: ['Browser'],
    summary: 'Unlock this browser',
    description: 'For the service’s own page. A tool’s key does not open it.',
    security: [],
    requestBody: {
      required: true,
      content: {
        'application/json': {
          schema: {
            type: 'object',
            properties: { key: { type: 'string', description: 'The owner’s key.' } },
            required: ['key'],
          },
        },
      },
    },
    responses: {
      200: {
        description: 'The session’s cookie, good for 30 days at most.',
        headers: { 'Set-Cookie': { required: true, schema: { type: 'string' } } },
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Done' } } },
      },
      400: { $ref: '#/components/responses/BadRequest' },
      401: { $ref: '#/components/responses/Unauthorized' },
      403: { $ref: '#/components/responses/Forbidden' },
      413: { $ref: '#/components/responses/TooLarge' },
      429: { $ref: '#/components/responses/TooManyRequests' },
      503: { $ref: '#/components/responses/Unavailable' },
    },
  },
})

/** Lets a browser in that shows the owner's key. */
export default eventHandler(async (event) => {
  const { key } = await readBody(event, Body)
  const { access, config, journal } = await useService()
  const holder = await access.identify(key.trim(), callerAddress(event, config.addressHeader))
  if (holder !== 'owner') {
    throw new KeeperError('forbidden', "A tool's key does not open the page.", { hint: "Enter the owner's key." })
  }
  journal.add('access', 'unlocked', 'A browser was unlocked.')
  setSessionCookie(event, await access.openSession())
  return { success: true, message: 'Unlocked.' }
})
