import { copyFile, readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { type Loader, transform } from 'esbuild'
import { eventHandler } from 'h3'
import { defineNitroConfig } from 'nitropack/config'

/** Where the preset's own will not do. */
const ENTRIES: Record<string, string> = {
  'node-cluster': 'node-cluster.ts',
  bun: 'node-server.ts',
  'deno-server': 'node-server.ts',
  'aws-lambda': 'aws-lambda.ts',
  'cloudflare-durable': 'cloudflare-durable.ts',
}

/** The page's scripts and its style, by the ids that Nitro's plugin for `raw:` gives them. Minified, except by `nitro dev`. */
const PAGE_FILE = /^\0raw:(.*\/server\/page\/.*)$/
/** Those that know URL.canParse, which the scripts use. */
const BROWSERS = ['chrome120', 'edge120', 'firefox115', 'safari17']

/** What the first token needs: in the chunk that is loaded first, and not in ones of their own that are loaded when it is asked for. */
const AT_THE_START = /\/(storage\/files|routes\/api\/token\.get)\.ts$/

// Nothing here depends on where the process runs: this file is evaluated at build time and frozen into the output.
// What does depend on it is read by server/config.ts and mounted by server/plugins/ when the process starts.
export default defineNitroConfig({
  // With a later one Nitro leaves out the flag that workers need to have Node's own modules.
  compatibilityDate: { default: '2026-11-01', cloudflare: '2026-03-01' },
  srcDir: '.',
  scanDirs: ['server'],
  imports: false,
  minify: true, // functions keep their names: a stack still says where
  serveStatic: false, // there are no public files, and every request would be held against their list
  errorHandler: './server/http/error-handler.ts',
  // Collects what routes say with `defineRouteMeta`; the document is made of it in server/openapi/, the page of that in server/page/.
  experimental: { openAPI: true },
  openAPI: { ui: { scalar: false, swagger: false } },
  // `nitro dev` answers through a proxy on a Unix socket; only here, in front of it, the caller's real address is known.
  devHandlers: [
    {
      route: '/',
      handler: eventHandler((event) => {
        event.node.req.headers['x-dev-peer'] = event.node.req.socket.remoteAddress ?? ''
      }),
    },
  ],
  // Not in the hook build:before, which would be in place of the preset's own: Cloudflare's lets the Worker have Node's modules.
  modules: [
    ({ options }) => {
      const entry = ENTRIES[options.preset]
      if (entry) options.entry = join(options.srcDir, 'server/entries', entry)
    },
    ({ hooks }) => {
      hooks.hook('rollup:before', (_, { output }) => {
        const { manualChunks: groupOf, chunkFileNames: nameOf } = output
        if (typeof groupOf !== 'function' || typeof nameOf !== 'function') return // a preset that makes one chunk of all
        output.manualChunks = (id, meta) => (AT_THE_START.test(id) ? 'nitro' : groupOf(id, meta))
        output.hoistTransitiveImports = false // 40 small chunks would each name all that the first one imports
        output.chunkFileNames = (chunk) => (chunk.name === 'nitro' ? 'chunks/nitro/[name].mjs' : nameOf(chunk))
      })
    },
    ({ options, hooks }) => {
      if (options.dev) return
      hooks.hook('rollup:before', (_, { plugins }) => {
        plugins?.unshift({
          name: 'minify-page',
          async load(id: string) {
            const [, path] = PAGE_FILE.exec(id) ?? []
            if (!path) return
            const loader = extname(path).slice(1) as Loader
            return (await transform(await readFile(path, 'utf8'), { loader, minify: true, target: BROWSERS })).code
          },
        })
      })
    },
    // `npm run doctor` in a container that has the output and nothing else.
    ({ options, hooks }) => {
      if (options.preset !== 'node-server' && options.preset !== 'node-cluster') return
      hooks.hook('compiled', () =>
        copyFile(join(options.srcDir, 'scripts/doctor.mjs'), join(options.output.serverDir, 'doctor.mjs')),
      )
    },
  ],
  // Written to .output/server/wrangler.json, for the preset cloudflare-durable. Nitro's entry takes the object's name for granted.
  cloudflare: {
    deployConfig: true,
    nodeCompat: true,
    wrangler: {
      name: 'yoto-token-keeper',
      durable_objects: { bindings: [{ name: '$DurableObject', class_name: '$DurableObject' }] },
      migrations: [{ tag: 'v1', new_sqlite_classes: ['$DurableObject'] }],
    },
  },
  // Bundled, and so without the parts that are not used; beside the bundle it would lie whole.
  externals: {
    inline: [
      ...['nitropack/presets', 'valibot', 'jose', 'rate-limiter-flexible', 'negotiator', 'content-type', 'uqr'],
      ...['ioredis', '@ioredis/commands', 'cluster-key-slot', 'denque', 'redis-errors', 'redis-parser'],
      'standard-as-callback',
    ],
  },
  typescript: { strict: true, tsConfig: { compilerOptions: { noUncheckedIndexedAccess: true } } },
})
