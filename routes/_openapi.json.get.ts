import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { apiDocument } from '../server/openapi/document'

defineRouteMeta({
  openAPI: {
    operationId: 'openapi',
    tags: ['Service'],
    summary: 'This description',
    description: 'As a page for people it is at /docs.',
    responses: {
      200: {
        description: 'OpenAPI 3.1.',
        content: { 'application/json': { schema: { type: 'object', required: ['openapi', 'info', 'paths'] } } },
      },
    },
  },
})

export default eventHandler(() => apiDocument())
