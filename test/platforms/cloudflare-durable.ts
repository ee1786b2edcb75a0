import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../support/keeper-process'
import type { Orders, WranglerConfig } from './miniflare-child'
import type { Platform } from './platform'

const CHILD = fileURLToPath(new URL('miniflare-child.ts', import.meta.url))

/** Where Nitro writes the configuration that `wrangler deploy` is to be called with. */
export const wranglerConfigOf = (built: string) => join(built, '.output/server/wrangler.json')

export const readWranglerConfig = (built: string): WranglerConfig =>
  JSON.parse(readFileSync(wranglerConfigOf(built), 'utf8'))

/** workerd, Cloudflare's own runtime, started by miniflare as the generated wrangler configuration says. */
const cloudflareDurable: Platform = {
  preset: 'cloudflare-durable',
  store: 'durable-object',
  // Both are miniflare's own doing, in front of any Worker: tried with one that hands fetch's answer on.
  cannot: {
    'a Host that is none': 'miniflare answers 500 by itself, and the Worker never hears of it',
    'API: what breaks off is no whole answer': 'miniflare ends an answer that breaks off as if it were whole',
  },

  async runtime() {
    const { version } = createRequire(createRequire(import.meta.url).resolve('miniflare'))('workerd/package.json')
    return `workerd ${version}`
  },

  async start({ built, env, cwd }) {
    const port = await freePort()
    const orders: Orders = {
      config: wranglerConfigOf(built),
      port,
      persist: join(cwd, 'durable-objects'),
      bindings: env,
    }
    const wrangler = readWranglerConfig(built)
    let log = ''
    let child: ChildProcess

    const launch = async () => {
      child = fork(CHILD, {
        execArgv: ['--import', 'tsx'],
        env: { PATH: process.env.PATH, HOME: process.env.HOME },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      })
      for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text) => (log += text))
      child.send({ orders, wrangler })
      const ended = once(child, 'exit').then(() => {
        throw new Error(`workerd did not start:\n${log}`)
      })
      await Promise.race([once(child, 'message'), ended])
    }
    const stop = async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
    }
    await launch()

    return {
      url: `http://127.0.0.1:${port}`,
      log: () => log,
      restart: async () => {
        await stop()
        await launch()
      },
      stop,
    }
  },
}

export default cloudflareDurable
