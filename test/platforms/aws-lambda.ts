import { join } from 'node:path'
import { startFunction } from './function-isolates'
import type { Platform } from './platform'

const platform: Platform = {
  preset: 'aws-lambda',
  runtime: async () => `Node ${process.versions.node}`,
  store: 'upstash',
  start: ({ built, env, cwd }) =>
    startFunction({ preset: 'aws-lambda', entry: join(built, '.output/server/index.mjs'), env, cwd }),
}

export default platform
