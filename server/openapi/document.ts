import type { NitroRouteMeta } from 'nitropack/types'
import { handlersMeta } from '#nitro-internal-virtual/server-handlers-meta'
import { version } from '../../package.json'
import { headers, responses, securitySchemes } from './components'
import { schemas } from './schemas'

export type Operation = NonNullable<NitroRouteMeta['openAPI']>

/** Every method that a route for any method is shown with: OpenAPI has no word for "any". */
const METHODS = ['get', 'head', 'post', 'put', 'patch', 'delete', 'options']

/** What the guard may answer in front of a route; the route's own description says only what the route answers. */
const GUARD = {
  401: { $ref: '#/components/responses/Unauthorized' },
  403: { $ref: '#/components/responses/Forbidden' },
  429: { $ref: '#/components/responses/TooManyRequests' },
  503: { $ref: '#/components/responses/Unavailable' },
}

/**
 * The API in OpenAPI's terms (3.1): every route that describes itself with `defineRouteMeta`. Made here and not by Nitro's own handler, as
 * that lists middleware and internal routes too, names the request's Host as a development server, and must be asked over HTTP.
 */
export function apiDocument() {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Yoto Token Keeper',
      version,
      description:
        'Keeps a sign-in to Yoto alive and gives other programs a valid access token. Beside the answers that are listed, an unknown ' +
        'path is 404 not_found, a method that a path does not know is 405 method_not_allowed, and a fault of the service is 500 ' +
        'internal_error, all in the shape of Error.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    security: [{ ownerKey: [] }, { session: [] }],
    tags: [
      { name: 'Yoto', description: 'What programs need; tools may call it with keys of their own.' },
      { name: 'Sign-in', description: 'Signing in to Yoto and out of it, and how that stands.' },
      { name: 'Browser', description: 'The page is unlocked with the owner’s key, once a browser.' },
      { name: 'Service', description: 'How the service is, and what it can do.' },
    ],
    paths: paths(),
    components: { schemas, responses, headers, securitySchemes },
  }
}

export type ApiDocument = ReturnType<typeof apiDocument>

function paths(): Record<string, Record<string, Operation>> {
  const paths: Record<string, Record<string, Operation>> = {}
  for (const { route = '', method, meta } of handlersMeta) {
    if (!meta?.openAPI) continue
    const path = route.replace(/(?:\*\*)?:(\w+)/g, '{$1}')
    const operations = method ? { [method]: meta.openAPI } : forEveryMethod(meta.openAPI)
    paths[path] = { ...paths[path], ...mapValues(operations, withGuard) }
  }
  return paths
}

function forEveryMethod({ requestBody, operationId, ...operation }: Operation): Record<string, Operation> {
  const of = (method: string): Operation => ({
    ...operation,
    operationId: `${operationId}By${method.charAt(0).toUpperCase()}${method.slice(1)}`,
    ...(!['get', 'head'].includes(method) && { requestBody }),
  })
  return Object.fromEntries(METHODS.map((method) => [method, of(method)]))
}

function withGuard(operation: Operation): Operation {
  const isOpen = operation.security?.length === 0
  return isOpen ? operation : { ...operation, responses: { ...GUARD, ...operation.responses } }
}

function mapValues<In, Out>(object: Record<string, In>, change: (value: In) => Out): Record<string, Out> {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]))
}
