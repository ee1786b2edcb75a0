import { getCookie, getHeader, type H3Event, handleCors } from 'h3'
import { callerAddress } from '../access/caller-address'
import { admit, isOpen } from '../access/guard'
import { SESSION_COOKIE } from '../access/session-cookie'
import { pathOf } from '../http/path-of'
import { useService } from '../service'

/**
 * What is not on the list of what is open asks for a key.
 * @throws KeeperError as `admit` does
 */
export async function guard(event: H3Event): Promise<void> {
  const path = pathOf(event)
  if (isOpen(path)) return
  const { access, config, journal } = await useService()
  const { headers } = event.node.req // h3's getHeader copies all of them, every time
  const { origin } = headers
  // A browser asks first whether it may send the key from there (Fetch standard, CORS-preflight); without a key it still may not.
  if (config.corsOrigin && origin === config.corsOrigin && handleCors(event, corsFor(origin))) return
  const caller = {
    path,
    host: headers.host ?? '',
    origin,
    secFetchSite: headers['sec-fetch-site'],
    authorization: headers.authorization,
    session: getCookie(event, SESSION_COOKIE),
    address: callerAddress(event, config.addressHeader),
    devPeer: import.meta.dev ? getHeader(event, 'x-dev-peer') : undefined,
  }
  const options = { dev: import.meta.dev ?? false, publicUrls: config.publicUrls }
  const holder = await admit(caller, access, options)
  if (typeof holder === 'object') journal.count('access', 'tool', `${holder.tool} asked.`)
}

function corsFor(origin: string): Parameters<typeof handleCors>[1] {
  return {
    origin: [origin],
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowHeaders: '*',
    exposeHeaders: '*',
  }
}
