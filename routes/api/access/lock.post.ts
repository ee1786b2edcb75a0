import { eventHandler } from 'h3'
import { deleteSessionCookie } from '../../../server/access/session-cookie'
import { useService } from '../../../server/service'

/** Ends every browser's session, everywhere. */
export default eventHandler(async (event) => {
  await (await useService()).access.endSessions()
  deleteSessionCookie(event)
  return { success: true, message: 'Locked.' }
})
