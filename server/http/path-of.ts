import type { H3Event } from 'h3'

/** The path that the router matches: without the query, and without the slash at the end that it does not mind. */
export function pathOf(event: H3Event): string {
  return (event.path.split('?')[0] ?? '').replace(/(.)\/$/, '$1')
}
