import { getHeader, type H3Event } from 'h3'

/**
 * Where a request comes from, as far as the caller cannot choose it: the header that the platform's edge overwrites, what an entry of
 * ours was told, or the socket.
 * @param header that header's name, where there is such an edge in front
 */
export function callerAddress(event: H3Event, header: string | undefined): string | undefined {
  if (header) return getHeader(event, header)
  return event.context.clientAddress || event.node.req.socket?.remoteAddress || undefined
}
