import { eventHandler, getHeader } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { redirectUri } from '../../../server/http/redirect-uri'
import { useService } from '../../../server/service'
import { statusOf } from '../../../server/status/status'

defineRouteMeta({
  openAPI: {
    operationId: 'refresh',
    tags: ['Sign-in'],
    summary: 'Refresh now',
    description:
      'Nobody needs to: tokens are renewed by themselves. Within 10 seconds of a refresh there is no other one.',
    responses: {
      200: {
        description: 'How the sign-in stands now.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Status' } } },
      },
      409: { $ref: '#/components/responses/SignedOut' },
      502: { $ref: '#/components/responses/YotoError' },
      503: { $ref: '#/components/responses/Unavailable' },
      504: { $ref: '#/components/responses/YotoTimeout' },
    },
  },
})

export default eventHandler(async (event) => {
  const service = await useService()
  await service.keeper.refreshNow()
  return statusOf(service, redirectUri(service.config, getHeader(event, 'host')))
})
