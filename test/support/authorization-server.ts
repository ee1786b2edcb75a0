import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, jwtVerify } from 'jose'
import { findRoute } from './demo-api'

/**
 * The real authorization server oidc-provider, with Yoto's paths, so that a sign-in can be tried without a Yoto account; and at the same
 * address a little of Yoto's API (demo-api.ts).
 */

// It tells an operator on the console what to change before production; nobody runs this one in production.
for (const level of ['info', 'warn'] as const) {
  const print = console[level]
  console[level] = (...args) => {
    if (!/oidc-provider (NOTICE|WARNING)/.test(String(args[0]))) print(...args)
  }
}

/** The little of oidc-provider and its Koa that is used here. */
interface Context {
  method: string
  path: string
  query: Record<string, string | string[] | undefined>
  status: number
  type: string
  body: unknown
  get(header: string): string
  req: IncomingMessage
  oidc?: { params?: { grant_type?: string } }
}
interface Provider {
  use(middleware: (ctx: Context, next: () => Promise<void>) => Promise<void>): void
  on(event: 'grant.success', listener: (ctx: Context) => void): void
  callback(): (request: IncomingMessage, response: ServerResponse) => void
}
// @ts-expect-error: oidc-provider ships no types
const { Provider } = (await import('oidc-provider')) as { Provider: new (issuer: string, setup: object) => Provider }

export interface AuthorizationServerOptions {
  port?: number
  /** Seconds. */
  accessTokenTtl?: number
  /** Seconds. */
  deviceCodeTtl?: number
  /** Seconds between polls; left out of the answer by default, which means 5 (RFC 8628, section 3.2). */
  interval?: number
  redirectUris?: string[]
  /** Makes the client a confidential one, which sends this. */
  clientSecret?: string
}

export interface RecordedRequest {
  method: string
  /** Without the query: codes and states stay out of a test's output. */
  path: string
  grant_type?: string
  /** Milliseconds since the epoch. */
  at: number
}

export interface AuthorizationServer {
  url: string
  clientId: string
  /** How many refresh grants have succeeded. */
  readonly refreshes: number
  requests: RecordedRequest[]
  /** Enters the code as a person would, and signs in: the login becomes the access token's `sub`. */
  approve(userCode: string, login?: string): Promise<void>
  deny(userCode: string): Promise<void>
  /** Signs in at an /authorize address, and returns the address that the browser is sent back to, unvisited. */
  signIn(authorizeUrl: string, login?: string): Promise<URL>
  stop(): Promise<void>
}

const CLIENT_ID = 'test-client'
const AUDIENCE = 'https://api.yotoplay.com'
const SCOPES = [
  ...['family:view', 'family:library:view', 'family:library:manage', 'user:content:view', 'user:content:manage'],
  ...['user:icons:manage', 'family:devices:view', 'family:devices:manage', 'family:devices:control'],
]
const LABEL =
  '<p style="text-align:center;font-family:sans-serif"><strong>Demo.</strong> This is not Yoto: any name and password will do.</p>'

export async function startAuthorizationServer(options: AuthorizationServerOptions = {}): Promise<AuthorizationServer> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port ?? 0, '127.0.0.1', resolve)
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const jwk = { ...(await exportJWK(privateKey)), use: 'sig', alg: 'RS256' }
  const provider = new Provider(url, configuration(options, jwk))

  const requests: RecordedRequest[] = []
  let refreshes = 0
  provider.on('grant.success', (ctx) => {
    if (ctx.oidc?.params?.grant_type === 'refresh_token') refreshes += 1
  })

  provider.use(async (ctx, next) => {
    const request: RecordedRequest = { method: ctx.method, path: ctx.path, at: Date.now() }
    requests.push(request)
    // Auth0 grants offline access without being asked for prompt=consent; OpenID Connect Core, section 11, wants it.
    if (ctx.path === '/authorize' && String(ctx.query.scope).includes('offline_access') && !ctx.query.prompt) {
      ctx.query = { ...ctx.query, prompt: 'consent' }
    }
    await next()
    if (ctx.oidc?.params?.grant_type) request.grant_type = ctx.oidc.params.grant_type
    if (ctx.path === '/oauth/device/code' && ctx.status === 200 && options.interval !== undefined) {
      ctx.body = { ...(ctx.body as object), interval: options.interval }
    }
    if (ctx.type === 'text/html' && typeof ctx.body === 'string') {
      // The pages' font would come from elsewhere.
      ctx.body = ctx.body.replace(/@import url\([^)]*\);?/g, '').replace('<body>', `<body>${LABEL}`)
    }
  })

  provider.use(async (ctx, next) => {
    const found = findRoute(ctx.method, ctx.path)
    if (!found) return next()
    const [, token = ''] = /^Bearer (.+)$/i.exec(ctx.get('authorization')) ?? []
    const verified = await jwtVerify(token, publicKey, { issuer: url, audience: AUDIENCE }).catch(() => undefined)
    const { id, route } = found
    const account = verified?.payload.sub ?? ''
    const body = verified && (await route({ account, query: ctx.query, id, request: ctx.req }))
    ctx.status = verified ? (body ? 200 : 404) : 401
    ctx.body = body ?? { error: verified ? { code: 'not-found', message: `${id} does not exist.` } : 'invalid_token' }
  })

  server.on('request', provider.callback())
  return {
    url,
    clientId: CLIENT_ID,
    get refreshes() {
      return refreshes
    },
    requests,
    approve: async (userCode, login = 'test-account') => {
      const end = await walk(url, '/activate', { user_code: userCode, login, password: 'any' })
      if (end.form) throw new Error(`the code was not accepted: ${visible(end.text)}`)
    },
    deny: async (userCode) => {
      const end = await walk(url, '/activate', { user_code: userCode, abort: 'yes' })
      if (!end.text.includes('interrupted')) throw new Error(`the code was not refused: ${visible(end.text)}`)
    },
    signIn: async (authorizeUrl, login = 'test-account') => {
      const end = await walk(url, authorizeUrl, { login, password: 'any' })
      if (!end.sentTo) throw new Error(`the sign-in did not end: ${visible(end.text)}`)
      return end.sentTo
    },
    stop: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error ? reject(error) : resolve()))
        server.closeAllConnections()
      }),
  }
}

function configuration(
  { accessTokenTtl = 3600, deviceCodeTtl = 300, redirectUris = [], clientSecret }: AuthorizationServerOptions,
  jwk: object,
) {
  const days = 24 * 60 * 60
  return {
    jwks: { keys: [jwk] },
    cookies: { keys: ['any'] },
    routes: {
      device_authorization: '/oauth/device/code',
      token: '/oauth/token',
      authorization: '/authorize',
      revocation: '/oauth/revoke',
      code_verification: '/activate',
    },
    clients: [
      {
        client_id: CLIENT_ID,
        client_name: 'Yoto Token Keeper',
        token_endpoint_auth_method: clientSecret ? 'client_secret_post' : 'none',
        client_secret: clientSecret,
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token', 'authorization_code'],
        response_types: redirectUris.length > 0 ? ['code'] : [],
        redirect_uris: redirectUris,
      },
    ],
    features: {
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      // One resource, whether asked for or not: Auth0's `audience` means nothing to oidc-provider, which ignores it.
      resourceIndicators: {
        enabled: true,
        defaultResource: () => AUDIENCE,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: [...SCOPES, 'offline_access'].join(' '),
          audience: AUDIENCE,
          accessTokenFormat: 'jwt',
          accessTokenTTL: accessTokenTtl,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    findAccount: (_: unknown, id: string) => ({ accountId: id, claims: () => ({ sub: id }) }),
    rotateRefreshToken: true,
    ttl: { AccessToken: accessTokenTtl, DeviceCode: deviceCodeTtl, RefreshToken: 90 * days, Grant: 90 * days },
  }
}

/** Goes through the server's pages as a browser would: fills in form after form, until a page has none or leads away. */
async function walk(url: string, start: string, answers: Record<string, string>) {
  const cookies = new Map<string, string>()
  const visit = async (target: URL, fields?: Record<string, string>): Promise<Page> => {
    if (target.origin !== url) return { text: '', sentTo: target }
    const response = await fetch(target, {
      method: fields ? 'POST' : 'GET',
      body: fields && new URLSearchParams(fields),
      headers: { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') },
      redirect: 'manual',
    })
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? []
      if (value) cookies.set(name, value)
      else cookies.delete(name)
    }
    const location = response.headers.get('location')
    return location ? visit(new URL(location, target)) : readPage(await response.text())
  }

  let page = await visit(new URL(start, url))
  const submitted = new Set<string>()
  while (page.form && !submitted.has(page.form.name)) {
    submitted.add(page.form.name)
    const { text, form } = page
    const asked = Object.entries(answers).filter(([name]) => text.includes(`name="${name}"`))
    page = await visit(new URL(form.action, url), { ...form.hidden, ...Object.fromEntries(asked) })
  }
  return page
}

interface Page {
  text: string
  /** The first form, and what it sends unasked; its name tells a form that is shown a second time. */
  form?: { name: string; action: string; hidden: Record<string, string> }
  sentTo?: URL
}

function readPage(text: string): Page {
  const action = /<form[^>]* action="([^"]*)"/.exec(text)?.[1]
  if (!action) return { text }
  const inputs = [...text.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)]
  const hidden = Object.fromEntries(inputs.map(([, name = '', value = '']) => [name, value]))
  return { text, form: { name: Object.keys(hidden).join() + (hidden.prompt ?? ''), action, hidden } }
}

const visible = (html: string) =>
  html
    .replace(/<(style|title)>[\s\S]*?<\/\1>|<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
