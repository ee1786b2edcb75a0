import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The routes as Nitro has written them into its output: `GET /api/token`; `ANY` where a route takes every method. */
export function builtRoutes(): string[] {
  const bundle = readFileSync(fileURLToPath(new URL('../../.output/server/chunks/nitro/nitro.mjs', import.meta.url)))
  const handlers = bundle
    .toString()
    .matchAll(/\{ route: '([^']*)', handler: \w+, lazy: \w+, middleware: (\w+), method: (?:"(\w+)"|undefined) \}/g)
  return [...handlers]
    .filter(([, , middleware]) => middleware === 'false')
    .map(([, route, , method]) => `${method?.toUpperCase() ?? 'ANY'} ${route}`)
    .filter((route) => route !== 'ANY /**') // Nitro's own renderer, which answers 404
}
