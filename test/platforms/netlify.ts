import { join } from 'node:path'
import { startFunction } from './function-isolates'
import type { Platform } from './platform'

const platform: Platform = {
  preset: 'netlify',
  runtime: async () => `Node ${process.versions.node}`,
  store: 'upstash',
  start: ({ built, env, cwd }) =>
    startFunction({ preset: 'netlify', entry: join(built, '.netlify/functions-internal/server/server.mjs'), env, cwd }),
}

export default platform
