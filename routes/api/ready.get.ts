import { eventHandler, setResponseStatus } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { useService } from '../../server/service'
import { readinessOf } from '../../server/status/readiness'

defineRouteMeta({
  openAPI: {
    operationId: 'ready',
    tags: ['Service'],
    summary: 'The service can work',
    description: 'Being signed out is no reason why not.',
    security: [],
    responses: {
      200: {
        description: 'It can.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Ready' } } },
      },
      503: {
        description: 'It cannot.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/NotReady' } } },
      },
    },
  },
})

export default eventHandler(async (event) => {
  const service = await useService().catch(() => undefined)
  const readiness = service ? readinessOf(service.config, service.keeper) : { ready: false, reason: 'not_configured' }
  if (!readiness.ready) setResponseStatus(event, 503)
  return readiness
})
