import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The routes as Nitro has written them into its output: `GET /api/token`; `ANY` where a route takes every method. */
export function builtRoutes(): string[] {
  const bundle = readFileSync(fileURLToPath(new URL('../../.output/server/chunks/nitro/nitro.mjs', import.meta.url)))
  const handlers = bundle
    .toString()
    .matchAll(/\{route:"([^"]*)",handler:.*?,lazy:!\d,middleware:!(\d),method:(?:"(\w+)"|void 0)\}/g)
  return [...handlers]
    .filter(([, , middleware]) => middleware === '1')
    .map(([, route, , method]) => `${method?.toUpperCase() ?? 'ANY'} ${route}`)
    .filter((route) => route !== 'ANY /**') // Nitro's own renderer, which answers 404
}
