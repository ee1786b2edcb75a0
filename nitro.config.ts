import { join } from 'node:path'
import { eventHandler } from 'h3'
import { defineNitroConfig } from 'nitropack/config'

/** Where the preset's own will not do. */
const ENTRIES: Record<string, string> = {
  'node-cluster': 'node-cluster.ts',
  bun: 'node-server.ts',
  'deno-server': 'node-server.ts',
  'aws-lambda': 'aws-lambda.ts',
}

// Nothing here depends on where the process runs: this file is evaluated at build time and frozen into the output.
// What does depend on it is read by server/config.ts and mounted by server/plugins/ when the process starts.
export default defineNitroConfig({
  compatibilityDate: '2026-11-01',
  srcDir: '.',
  scanDirs: ['server'],
  imports: false,
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
  hooks: {
    'build:before'({ options }) {
      const entry = ENTRIES[options.preset]
      if (entry) options.entry = join(options.srcDir, 'server/entries', entry)
    },
  },
  // Bundled, and so without the parts that are not used; beside the bundle it would lie whole.
  externals: {
    inline: ['nitropack/presets', 'valibot', 'jose', 'rate-limiter-flexible', 'negotiator', 'content-type'],
  },
  typescript: { strict: true, tsConfig: { compilerOptions: { noUncheckedIndexedAccess: true } } },
})
