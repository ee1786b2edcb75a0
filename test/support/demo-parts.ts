import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from './authorization-server'

/** What `npm run demo` and the examples' tests have in common: what stands in for Yoto, and the service's environment for it. */
export interface Demo {
  /** Where the service is to listen. */
  url: string
  yoto: AuthorizationServer
  env: Record<string, string>
}

export async function prepareDemo(port: number | string, options?: AuthorizationServerOptions): Promise<Demo> {
  const url = `http://127.0.0.1:${port}`
  const redirectUris = [url, `http://localhost:${port}`].map((origin) => `${origin}/api/auth/callback`)
  const yoto = await startAuthorizationServer({ accessTokenTtl: 3600, redirectUris, ...options })
  const env = {
    ...{ HOST: '127.0.0.1', PORT: String(port), PUBLIC_URL: url },
    ...{ YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url },
  }
  return { url, yoto, env }
}
