import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { hasNodeStreams } from '../../../server/platform'
import { useService } from '../../../server/service'

defineRouteMeta({
  openAPI: {
    operationId: 'yoto',
    tags: ['Yoto'],
    summary: 'Any call of Yoto’s API',
    description:
      'The same request at YOTO_API_URL, with a valid token in place of the key. An answer with Keeper-Error is this service’s.',
    security: [{ ownerKey: [] }, { toolKey: [] }, { session: [] }],
    parameters: [
      {
        name: 'path',
        in: 'path',
        required: true,
        description: 'Yoto’s path, slashes and all, with its query behind it. It goes as it is, or not at all.',
        schema: { type: 'string' },
      },
    ],
    requestBody: { description: 'Whatever Yoto takes.', content: { '*/*': {} } },
    responses: {
      default: { description: 'Yoto’s answer.', content: { '*/*': {} } },
      400: { $ref: '#/components/responses/BadRequest' },
      409: { $ref: '#/components/responses/SignedOut' },
      502: { $ref: '#/components/responses/YotoError' },
      503: { $ref: '#/components/responses/Unavailable' },
      504: { $ref: '#/components/responses/YotoTimeout' },
    },
  },
})

/** Any request to Yoto's API, with a valid token. */
export default eventHandler(async (event) => {
  const service = await useService()
  if (hasNodeStreams) {
    const { passThrough } = await import('../../../server/proxy/node-pass-through')
    return passThrough(event.node.req, event.node.res, service)
  }
  const { passThrough } = await import('../../../server/proxy/web-pass-through')
  return passThrough(event, service)
})
