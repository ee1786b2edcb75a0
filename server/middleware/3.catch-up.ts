import { eventHandler } from 'h3'
import { isOpen } from '../access/guard'
import { pathOf } from '../http/path-of'
import { isProcess } from '../platform'
import { useService } from '../service'

/** Where nothing runs between requests, what has come due meanwhile is done first: a refresh ahead, a poll, a look at the store. */
export default eventHandler(async (event) => {
  if (isProcess || isOpen(pathOf(event))) return
  await (await useService()).catchUp()
})
