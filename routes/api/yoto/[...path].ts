import { eventHandler } from 'h3'
import { passThrough } from '../../../server/proxy/pass-through'
import { useService } from '../../../server/service'

/** Any request to Yoto's API, with a valid token. */
export default eventHandler(async (event) => {
  await passThrough(event.node.req, event.node.res, await useService())
})
