/**
 * What the runtime that this was built for can do. Nitro replaces `import.meta.preset` when it builds; the comparisons must stay as plain
 * as they are, or code for other platforms stays in the bundle.
 */

/** A process of its own, which goes on between requests. Elsewhere nothing happens but during a request (or an alarm). */
export const isProcess: boolean =
  import.meta.preset === 'node-server' ||
  import.meta.preset === 'node-cluster' ||
  import.meta.preset === 'bun' ||
  import.meta.preset === 'deno-server' ||
  !!import.meta.dev

/** What is due is done though nobody asks: in a process, or by a Durable Object's alarm. */
export const isUnattended: boolean = isProcess || import.meta.preset === 'cloudflare-durable'

/** Requests and answers are Node's own streams; Bun and Deno serve with Node's HTTP server (nitro.config.ts). Elsewhere Nitro's entry hands a body over whole, and takes a web stream back. */
export const hasNodeStreams: boolean =
  import.meta.preset === 'node-server' ||
  import.meta.preset === 'node-cluster' ||
  import.meta.preset === 'bun' ||
  import.meta.preset === 'deno-server' ||
  import.meta.preset === 'vercel' ||
  !!import.meta.dev

/**
 * The header in which the platform's edge names the caller's address, whatever the caller has sent: vercel.com/docs/headers/request-headers
 * and Netlify's own runtime, which makes `context.ip` of it.
 */
export const addressHeader: string | undefined =
  import.meta.preset === 'vercel'
    ? 'x-real-ip'
    : import.meta.preset === 'netlify'
      ? 'x-nf-client-connection-ip'
      : undefined
