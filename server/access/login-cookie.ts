import { deleteCookie, getCookie, type H3Event, setCookie } from 'h3'
import { isHttps } from './session-cookie'

/**
 * Binds a sign-in to the browser that began it. Lax, as the way back from Yoto begins at another site; one a sign-in, so that two tabs do
 * not get into each other's way.
 */
const nameOf = (state: string) => `keeper_login_${state}`

/** @param lifetime milliseconds */
export function setLoginCookie(event: H3Event, state: string, secret: string, lifetime: number): void {
  setCookie(event, nameOf(state), secret, { ...attributes(event), maxAge: lifetime / 1000 })
}

/** The cookie's value; it is good for one use. */
export function takeLoginCookie(event: H3Event, state: string): string | undefined {
  const secret = getCookie(event, nameOf(state))
  if (secret !== undefined) deleteCookie(event, nameOf(state), attributes(event))
  return secret
}

function attributes(event: H3Event) {
  return { httpOnly: true, sameSite: 'lax', path: '/api/auth/callback', secure: isHttps(event) } as const
}
