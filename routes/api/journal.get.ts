import { eventHandler } from 'h3'
import { useService } from '../../server/service'

export default eventHandler(async () => ({ events: await (await useService()).journal.read() }))
