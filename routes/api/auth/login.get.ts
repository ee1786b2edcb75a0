import { eventHandler, getHeader, sendRedirect } from 'h3'
import { defineRouteMeta } from 'nitropack/runtime'
import { setLoginCookie } from '../../../server/access/login-cookie'
import { KeeperError } from '../../../server/errors'
import { redirectUri } from '../../../server/http/redirect-uri'
import { BROWSER_LOGIN_LIFETIME } from '../../../server/logins/browser'
import { settle, useService } from '../../../server/service'

defineRouteMeta({
  openAPI: {
    operationId: 'login',
    tags: ['Sign-in'],
    summary: 'Send the browser to Yoto to sign in',
    description: 'For a browser that is unlocked, from the service’s own page. Authorization code with PKCE.',
    responses: {
      302: {
        description: 'To Yoto; or back to the page, if it asked for HTML and the sign-in could not begin.',
        headers: { Location: { required: true, schema: { type: 'string', format: 'uri-reference' } } },
      },
    },
  },
})

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
    await settle()
    return await sendRedirect(event, url)
  } catch (error) {
    // A person who pressed a button reads it on the page; a program gets the error.
    if (!(error instanceof KeeperError) || !getHeader(event, 'accept')?.includes('text/html')) throw error
    return sendRedirect(event, '/#sign-in=not_begun')
  }
})
