import { eventHandler, setResponseStatus } from 'h3'
import { readinessOf } from '../../server/keeper/status'
import { useService } from '../../server/service'

export default eventHandler(async (event) => {
  const service = await useService().catch(() => undefined)
  const readiness = service ? readinessOf(service.config, service.keeper) : { ready: false, reason: 'not_configured' }
  if (!readiness.ready) setResponseStatus(event, 503)
  return readiness
})
