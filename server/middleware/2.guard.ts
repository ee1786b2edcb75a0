import { eventHandler, getCookie, getHeader, handleCors } from 'h3'
import { callerAddress } from '../access/caller-address'
import { admit, isOpen } from '../access/guard'
import { SESSION_COOKIE } from '../access/session-cookie'
import { pathOf } from '../http/path-of'
import { useService } from '../service'

/** In front of every route: what is not on the list of what is open asks for a key. */
export default eventHandler(async (event) => {
  const path = pathOf(event)
  if (isOpen(path)) return
  const { access, config, journal } = await useService()
  const origin = getHeader(event, 'origin')
  // A browser asks first whether it may send the key from there (Fetch standard, CORS-preflight); without a key it still may not.
  if (config.corsOrigin && origin === config.corsOrigin && handleCors(event, corsFor(origin))) return
  const caller = {
    path,
    host: getHeader(event, 'host') ?? '',
    origin,
    secFetchSite: getHeader(event, 'sec-fetch-site'),
    authorization: getHeader(event, 'authorization'),
    session: getCookie(event, SESSION_COOKIE),
    address: callerAddress(event, config.addressHeader),
    devPeer: getHeader(event, 'x-dev-peer'),
  }
  const options = { dev: import.meta.dev ?? false, publicUrls: config.publicUrls }
  const holder = await admit(caller, access, options)
  if (typeof holder === 'object') journal.count('access', 'tool', `${holder.tool} asked.`)
})

function corsFor(origin: string): Parameters<typeof handleCors>[1] {
  return {
    origin: [origin],
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowHeaders: '*',
    exposeHeaders: '*',
  }
}
