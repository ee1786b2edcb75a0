import { eventHandler } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { deleteSessionCookie } from '../../../server/access/session-cookie'
import { useService } from '../../../server/service'

defineRouteMeta({
  openAPI: {
    operationId: 'lock',
    tags: ['Browser'],
    summary: 'Lock every browser, everywhere',
    responses: {
      200: {
        description: 'All sessions have ended.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Done' } } },
      },
    },
  },
})

/** Ends every browser's session, everywhere. */
export default eventHandler(async (event) => {
  const { access, journal } = await useService()
  await access.endSessions()
  journal.add('access', 'locked', 'Every browser was locked.')
  deleteSessionCookie(event)
  return { success: true, message: 'Locked.' }
})
