import { eventHandler, getHeader } from 'h3'
import { redirectUri } from '../../../server/http/redirect-uri'
import { statusOf } from '../../../server/keeper/status'
import { useService } from '../../../server/service'

export default eventHandler(async (event) => {
  const service = await useService()
  return statusOf(service, redirectUri(service.config, getHeader(event, 'host')))
})
