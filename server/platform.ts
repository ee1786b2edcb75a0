/**
 * What the runtime that this was built for can do. Nitro replaces `import.meta.preset` when it builds; the comparisons must stay as plain
 * as they are, or code for other platforms stays in the bundle.
 */

/** Nitro's name for what this was built for. */
export const preset: string = import.meta.preset ?? 'unbuilt'

/** A process of its own, which goes on between requests. Elsewhere nothing happens but during a request (or an alarm). */
export const isProcess: boolean =
  import.meta.preset === 'node-server' ||
  import.meta.preset === 'node-cluster' ||
  import.meta.preset === 'bun' ||
  import.meta.preset === 'deno-server' ||
  !!import.meta.dev

/** Between requests an alarm goes off when it has been set. Requests are answered, and state is kept, in one Durable Object. */
export const hasAlarm: boolean = import.meta.preset === 'cloudflare-durable'

/** What is due is done though nobody asks: in a process, or by the alarm. */
export const isUnattended: boolean = isProcess || hasAlarm

/**
 * Requests and answers are Node's own streams; Bun and Deno serve with Node's HTTP server (nitro.config.ts). Elsewhere Nitro's entry hands
 * a body over whole, and takes a web stream back.
 */
export const hasNodeStreams: boolean =
  import.meta.preset === 'node-server' ||
  import.meta.preset === 'node-cluster' ||
  import.meta.preset === 'bun' ||
  import.meta.preset === 'deno-server' ||
  import.meta.preset === 'vercel' ||
  !!import.meta.dev

/**
 * The header in which the platform's edge names the caller's address, whatever the caller has sent (developers.cloudflare.com,
 * HTTP headers; vercel.com/docs/headers/request-headers; Netlify's own runtime makes `context.ip` of it).
 */
export const addressHeader: string | undefined =
  import.meta.preset === 'cloudflare-durable'
    ? 'cf-connecting-ip'
    : import.meta.preset === 'vercel'
      ? 'x-real-ip'
      : import.meta.preset === 'netlify'
        ? 'x-nf-client-connection-ip'
        : undefined
