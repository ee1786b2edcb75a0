import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'

defineRouteMeta({
  openAPI: {
    operationId: 'health',
    tags: ['Service'],
    summary: 'The process lives',
    description: 'It says nothing about the sign-in. Under any host name.',
    security: [],
    responses: {
      200: {
        description: 'It does.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Health' } } },
      },
    },
  },
})

/** Whether the process lives; says nothing about the sign-in. */
export default eventHandler(() => ({ status: 'ok' }))
