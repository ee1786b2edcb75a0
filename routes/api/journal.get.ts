import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { gzippedJson } from '../../server/http/gzip'
import { useService } from '../../server/service'

defineRouteMeta({
  openAPI: {
    operationId: 'journal',
    tags: ['Service'],
    summary: 'The last 500 events',
    description: 'Without any token, code or key.',
    responses: {
      200: {
        description: 'What has happened.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Journal' } } },
      },
    },
  },
})

export default eventHandler(async (event) => {
  const { journal } = await useService()
  return gzippedJson(event, { events: await journal.read() })
})
