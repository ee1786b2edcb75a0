import { eventHandler } from 'h3'
import { statusOf } from '../../../server/keeper/status'
import { useService } from '../../../server/service'

export default eventHandler(async () => {
  const service = await useService()
  await service.keeper.refreshNow()
  return statusOf(service)
})
