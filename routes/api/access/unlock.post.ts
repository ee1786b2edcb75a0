import { eventHandler } from 'h3'
import * as v from 'valibot'
import { setSessionCookie } from '../../../server/access/session-cookie'
import { KeeperError } from '../../../server/errors'
import { readBody } from '../../../server/http/read-body'
import { useService } from '../../../server/service'

const Body = v.object({ key: v.string() })

/** Lets a browser in that shows the keeper key. */
export default eventHandler(async (event) => {
  const { key } = await readBody(event, Body)
  const { access } = await useService()
  if (!(await access.isKey(key.trim()))) throw new KeeperError('unauthorized', 'This is not the keeper key.')
  setSessionCookie(event, await access.openSession())
  return { success: true, message: 'Unlocked.' }
})
