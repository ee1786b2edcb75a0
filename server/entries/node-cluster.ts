import cluster from 'node:cluster'
import { availableParallelism } from 'node:os'

/**
 * In place of Nitro's entry for node-cluster, whose primary loads the whole service for itself, passes no signal on to the workers, and
 * starts a worker that cannot start again and again.
 */
if (cluster.isPrimary) watchOver(Number(process.env.NITRO_CLUSTER_WORKERS) || availableParallelism())
else import('nitropack/presets/node/runtime/node-server')

function watchOver(workers: number): void {
  let ending = false
  const end = (signal: NodeJS.Signals) => {
    ending = true
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill(signal)
  }
  // The primary ends by itself, after the last worker.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => end(signal))

  const started = new Set<number>()
  cluster.on('listening', ({ id }) => started.add(id))
  cluster.on('exit', ({ id }, code) => {
    if (ending) return
    if (started.has(id)) {
      cluster.fork()
      return
    }
    process.exitCode = code || 1 // another could not start either; this one has said why
    end('SIGTERM')
  })
  // The first shows whether the service can start at all.
  cluster.once('listening', () => {
    for (let i = 1; i < workers && !ending; i++) cluster.fork()
  })
  cluster.fork()
}
