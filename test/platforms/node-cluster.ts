import { processPlatform } from './process'

/** More workers than the machine has cores: they are to get into each other's way. */
const WORKERS = 4

export default processPlatform({
  preset: 'node-cluster',
  runtime: async () => `node ${process.version}, ${WORKERS} workers`,
  env: { NITRO_CLUSTER_WORKERS: String(WORKERS) },
  workers: WORKERS,
})
