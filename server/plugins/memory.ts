import { setFlagsFromString } from 'node:v8'
import { defineNitroPlugin } from 'nitropack/runtime'
import { preset } from '../platform'

/**
 * After a burst of callers V8 takes the headers of answers for long-lived and makes all later ones among the old objects, which are
 * collected seldom: after 100,000 requests the process occupied 110 MiB instead of 91, and answered 3 % fewer a second.
 *
 * Not before the first answer: Node brings its own modules along compiled, and with another flag V8 compiles anew what is loaded from then
 * on, for 3 ms of a start.
 */
export default defineNitroPlugin(({ hooks }) => {
  if (preset !== 'node-server' && preset !== 'node-cluster') return
  hooks.hookOnce('afterResponse', () => setFlagsFromString('--no-allocation-site-pretenuring'))
})
