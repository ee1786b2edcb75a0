import { eventHandler, getHeader } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { gzippedJson } from '../../../server/http/gzip'
import { redirectUri } from '../../../server/http/redirect-uri'
import { useService } from '../../../server/service'
import { statusOf } from '../../../server/status/status'

defineRouteMeta({
  openAPI: {
    operationId: 'status',
    tags: ['Sign-in'],
    summary: 'How the sign-in stands',
    responses: {
      200: {
        description: 'How it stands.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Status' } } },
      },
    },
  },
})

export default eventHandler(async (event) => {
  const service = await useService()
  return gzippedJson(event, await statusOf(service, redirectUri(service.config, getHeader(event, 'host'))))
})
