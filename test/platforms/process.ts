import { join } from 'node:path'
import { startKeeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'
import type { Platform, Running } from './platform'

/** What every platform has in common that is a process of its own on a machine with a disk. */
export function processPlatform(options: {
  preset: string
  runtime: () => Promise<string>
  /** By default Node. */
  command?: string
  /** They stand before the entry. */
  args?: string[]
  env?: Record<string, string>
  /** Processes that listen before all of it is there. */
  workers?: number
}): Platform {
  const { preset, runtime, command, args, workers = 1 } = options
  return {
    preset,
    runtime,
    store: 'files',
    async start({ built, env, cwd }): Promise<Running> {
      const entry = join(built, '.output/server/index.mjs')
      const own = { ...options.env, ...env }
      const startAll = async (port?: string) => {
        const started = await startKeeper({ command, args, entry, env: port ? { ...own, PORT: port } : own, cwd })
        const listening = () => started.log().split('Listening on').length - 1
        await waitUntil(() => listening() === workers, { what: `${workers} workers were listening` })
        return started
      }
      let keeper = await startAll()
      let before = ''
      const end = async () => {
        const { code, signal } = await keeper.stop()
        before += keeper.log()
        if (code !== 0) throw new Error(`ended with ${code ?? signal} at SIGTERM; its log:\n${before}`)
      }
      const { url } = keeper
      return {
        url,
        log: () => before + keeper.log(),
        async restart() {
          await end()
          keeper = await startAll(new URL(url).port)
        },
        stop: end,
      }
    },
  }
}
