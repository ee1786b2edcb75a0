import type { H3Event } from 'h3'
import { isOpen } from '../access/guard'
import { pathOf } from '../http/path-of'
import { useService } from '../service'

/** It looks and changes nothing: least of all does it refresh. */
const ONLY_LOOKS = '/api/doctor'

/** Where nothing at all runs between requests, what has come due meanwhile is done first: a refresh ahead, a poll, a look at the store. */
export async function catchUp(event: H3Event): Promise<void> {
  const path = pathOf(event)
  if (path === ONLY_LOOKS || (isOpen(path) && path !== '/api/ready')) return
  const service = await useService().catch(() => undefined) // why there is none is each route's to say
  await service?.catchUp()
}
