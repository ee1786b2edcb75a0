import { join } from 'node:path'
import { startFunction } from './function-isolates'
import type { Platform } from './platform'

/** One isolate serves several requests at a time (vercel.com/docs/fluid-compute). */
const platform: Platform = {
  preset: 'vercel',
  runtime: async () => `Node ${process.versions.node}`,
  store: 'upstash',
  start: ({ built, env, cwd }) =>
    startFunction({
      preset: 'vercel',
      entry: join(built, '.vercel/output/functions/__fallback.func/index.mjs'),
      env,
      cwd,
      atOnce: Number.POSITIVE_INFINITY,
    }),
}

export default platform
