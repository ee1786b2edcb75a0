import { eventHandler } from 'h3'
import { catchUp } from '../front/catch-up'
import { forward } from '../front/forward'
import { guard } from '../front/guard'
import { setSecurityHeaders } from '../front/headers'
import { hasAlarm, isUnattended } from '../platform'

/** In front of every route, in this order; one middleware, as h3 waits for each of them whether it has something to do or not. */
export default eventHandler(async (event) => {
  setSecurityHeaders(event)
  const forwarded = hasAlarm ? await forward(event) : undefined
  if (forwarded) return forwarded
  await guard(event)
  if (!isUnattended && !event.handled) await catchUp(event)
})
