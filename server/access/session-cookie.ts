import { deleteCookie, getRequestProtocol, type H3Event, setCookie } from 'h3'
import { SESSION_LIFETIME } from './access'

export const SESSION_COOKIE = 'keeper_session'

export function setSessionCookie(event: H3Event, value: string): void {
  setCookie(event, SESSION_COOKIE, value, { ...attributes(event), maxAge: SESSION_LIFETIME / 1000 })
}

export function deleteSessionCookie(event: H3Event): void {
  deleteCookie(event, SESSION_COOKIE, attributes(event))
}

function attributes(event: H3Event) {
  return { httpOnly: true, sameSite: 'strict', path: '/', secure: isHttps(event) } as const
}

/** A forged forwarding header only changes the forger's own cookie. */
export function isHttps(event: H3Event): boolean {
  return getRequestProtocol(event, { xForwardedProto: true }) === 'https'
}
