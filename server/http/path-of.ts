import type { H3Event } from 'h3'

/** The path that the router matches: without the query, and without the slash at the end that it does not mind. */
export function pathOf(event: H3Event): string {
  const path = event.path.split('?')[0] ?? ''
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}
