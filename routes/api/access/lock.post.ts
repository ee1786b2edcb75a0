import { eventHandler } from 'h3'
import { deleteSessionCookie } from '../../../server/access/session-cookie'
import { useService } from '../../../server/service'

/** Ends every browser's session, everywhere. */
export default eventHandler(async (event) => {
  const { access, journal } = await useService()
  await access.endSessions()
  journal.add('access', 'locked', 'Every browser was locked.')
  deleteSessionCookie(event)
  return { success: true, message: 'Locked.' }
})
