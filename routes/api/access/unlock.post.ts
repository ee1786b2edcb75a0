import { eventHandler } from 'h3'
import * as v from 'valibot'
import { callerAddress } from '../../../server/access/caller-address'
import { setSessionCookie } from '../../../server/access/session-cookie'
import { KeeperError } from '../../../server/errors'
import { readBody } from '../../../server/http/read-body'
import { useService } from '../../../server/service'

const Body = v.object({ key: v.string() })

/** Lets a browser in that shows the owner's key. */
export default eventHandler(async (event) => {
  const { key } = await readBody(event, Body)
  const { access, config, journal } = await useService()
  const holder = await access.identify(key.trim(), callerAddress(event, config.addressHeader))
  if (holder !== 'owner') {
    throw new KeeperError('forbidden', "A tool's key does not open the page.", { hint: "Enter the owner's key." })
  }
  journal.add('access', 'unlocked', 'A browser was unlocked.')
  setSessionCookie(event, await access.openSession())
  return { success: true, message: 'Unlocked.' }
})
