import { defineNitroConfig } from 'nitropack/config'

/** As little of Nitro as answers; BENCH_STORE mounts a store too, where sizes are compared. */
export default defineNitroConfig({
  compatibilityDate: { default: '2026-11-01', cloudflare: '2026-03-01' },
  srcDir: '.',
  imports: false,
  storage: process.env.BENCH_STORE ? { tokens: { driver: process.env.BENCH_STORE, base: './tokens' } } : {},
  cloudflare: { deployConfig: true, nodeCompat: true },
})
