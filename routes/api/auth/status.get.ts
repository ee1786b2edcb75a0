import { eventHandler } from 'h3'
import { statusOf } from '../../../server/keeper/status'
import { useService } from '../../../server/service'

export default eventHandler(async () => statusOf(await useService()))
