import { eventHandler, getHeader, sendRedirect } from 'h3'
import { setLoginCookie } from '../../../server/access/login-cookie'
import { KeeperError } from '../../../server/errors'
import { redirectUri } from '../../../server/http/redirect-uri'
import { BROWSER_LOGIN_LIFETIME } from '../../../server/keeper/browser-logins'
import { useService } from '../../../server/service'

/** Sends the browser to Yoto to sign in (RFC 6749 4.1.1, RFC 7636). */
export default eventHandler(async (event) => {
  const { config, browserLogins } = await useService()
  const uri = redirectUri(config, getHeader(event, 'host'))
  if (!uri) {
    throw new KeeperError('not_configured', 'The service does not know the address that it is reached at.', {
      hint: 'Set PUBLIC_URL to it.',
    })
  }
  try {
    const { state, secret, url } = await browserLogins.begin(uri)
    setLoginCookie(event, state, secret, BROWSER_LOGIN_LIFETIME)
    return await sendRedirect(event, url)
  } catch (error) {
    // A person who pressed a button reads it on the page; a program gets the error.
    if (!(error instanceof KeeperError) || !getHeader(event, 'accept')?.includes('text/html')) throw error
    return sendRedirect(event, '/#sign-in=not_begun')
  }
})
