import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { startMiniflare } from './miniflare'

/** Runs a Worker's output in workerd, as its generated wrangler configuration says, until this process is ended. */

export interface Orders {
  /** The generated wrangler.json. */
  config: string
  port: number
  /** Where the Durable Object's storage lies. */
  persist: string
  bindings: Record<string, string>
}

/** The part of wrangler's configuration that the output depends on. */
export interface WranglerConfig {
  main: string
  compatibility_date: string
  compatibility_flags: string[]
  durable_objects: { bindings: { name: string; class_name: string }[] }
  migrations: { tag: string; new_sqlite_classes: string[] }[]
}

process.once('message', async ({ orders, wrangler }: { orders: Orders; wrangler: WranglerConfig }) => {
  const main = join(dirname(orders.config), wrangler.main)
  const root = dirname(main)
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.mjs'))
  const paths = [main, ...files.map((file) => join(root, file)).filter((path) => path !== main)]
  const sqlite = wrangler.migrations.flatMap((migration) => migration.new_sqlite_classes)
  const miniflare = await startMiniflare({
    port: orders.port,
    modulesRoot: root,
    modules: paths.map((path) => ({ type: 'ESModule', path })),
    compatibilityDate: wrangler.compatibility_date,
    compatibilityFlags: wrangler.compatibility_flags,
    durableObjects: Object.fromEntries(
      wrangler.durable_objects.bindings.map(({ name, class_name: className }) => [
        name,
        { className, useSQLite: sqlite.includes(className) },
      ]),
    ),
    durableObjectsPersist: orders.persist,
    bindings: orders.bindings,
    logRequests: false,
  })
  process.send?.('ready')
  const end = async () => {
    await miniflare.dispose()
    process.exit(0)
  }
  process.once('SIGTERM', end)
  process.once('disconnect', end) // whoever started it is gone
})
