import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { useService } from '../../server/service'

defineRouteMeta({
  openAPI: {
    operationId: 'doctor',
    tags: ['Service'],
    summary: 'Looks at all that the sign-in hangs on',
    description:
      'The store, the clock, Yoto’s servers, the configuration and the sign-in. Takes up to 5 seconds; never refreshes, and shows no secret.',
    responses: {
      200: {
        description: 'What was found, whether it is well or not.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Doctor' } } },
      },
    },
  },
})

export default eventHandler(async () => {
  const doctor = await (await useService()).doctor()
  return { checks: await doctor.examine() }
})
