import { eventHandler } from 'h3'
import * as v from 'valibot'
import { readBody } from '../../../server/http/read-body'
import { useService } from '../../../server/service'

const Body = v.object({ device_code: v.string() })

/** How a sign-in by code stands; `device_code` is the handle that start gave. */
export default eventHandler(async (event) => {
  const { device_code } = await readBody(event, Body)
  const { keeper, deviceLogins } = await useService()
  const login = await deviceLogins.state(device_code)
  return { ...login, authenticated: keeper.snapshot().timeLeft > 0 }
})
