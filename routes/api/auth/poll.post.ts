import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import * as v from 'valibot'
import { readBody } from '../../../server/http/read-body'
import { useService } from '../../../server/service'

const Body = v.object({ device_code: v.string() })

defineRouteMeta({
  openAPI: {
    operationId: 'poll',
    tags: ['Sign-in'],
    summary: 'How a sign-in by code stands',
    description: 'How it ended is known for 10 minutes.',
    requestBody: {
      required: true,
      content: {
        'application/json': {
          schema: {
            type: 'object',
            properties: { device_code: { type: 'string', description: 'The handle that start gave.' } },
            required: ['device_code'],
          },
        },
      },
    },
    responses: {
      200: {
        description: 'How it stands.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Poll' } } },
      },
      400: { $ref: '#/components/responses/BadRequest' },
      404: { $ref: '#/components/responses/NotFound' },
      413: { $ref: '#/components/responses/TooLarge' },
    },
  },
})

/** How a sign-in by code stands; `device_code` is the handle that start gave. */
export default eventHandler(async (event) => {
  const { device_code } = await readBody(event, Body)
  const { keeper, deviceLogins } = await useService()
  const login = await deviceLogins.state(device_code)
  return { ...login, authenticated: keeper.snapshot().timeLeft > 0 }
})
