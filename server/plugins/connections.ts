import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Server } from 'node:http'
import { defineNitroPlugin } from 'nitropack/runtime'
import { hasNodeStreams } from '../platform'

/** Milliseconds; proxies in front keep connections for a minute, and one that is closed first costs a caller a 502. */
const KEEP_ALIVE = 65_000
/** Milliseconds in which an upload has to arrive; Node's five minutes are little for a large one from home. */
const LONGEST_REQUEST = 3_600_000

const FIRST_REQUEST = 'http.server.request.start'

/** Nitro's entry keeps its server to itself; Node names it at the first request (Node: diagnostics_channel, HTTP). */
export default defineNitroPlugin(() => {
  if (!hasNodeStreams) return
  const setUp = (message: unknown) => {
    const { server } = message as { server: Server }
    server.keepAliveTimeout = KEEP_ALIVE
    server.requestTimeout = LONGEST_REQUEST
    unsubscribe(FIRST_REQUEST, setUp)
  }
  subscribe(FIRST_REQUEST, setUp)
})
