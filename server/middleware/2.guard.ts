import { eventHandler, getCookie, getHeader } from 'h3'
import { admit, isOpen } from '../access/guard'
import { SESSION_COOKIE } from '../access/session-cookie'
import { useService } from '../service'

/** In front of every route: what is not on the list of what is open asks for a key. */
export default eventHandler(async (event) => {
  const path = (event.path.split('?')[0] ?? '').replace(/(.)\/$/, '$1')
  if (isOpen(path)) return
  const { access, config } = await useService()
  const caller = {
    path,
    host: getHeader(event, 'host') ?? '',
    origin: getHeader(event, 'origin'),
    secFetchSite: getHeader(event, 'sec-fetch-site'),
    authorization: getHeader(event, 'authorization'),
    session: getCookie(event, SESSION_COOKIE),
    devPeer: getHeader(event, 'x-dev-peer'),
  }
  await admit(caller, access, { dev: import.meta.dev ?? false, publicUrls: config.publicUrls })
})
