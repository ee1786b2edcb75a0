/** What `defineRouteMeta` says in each route, read out by Nitro when it builds; its own document is made of the same. */
declare module '#nitro-internal-virtual/server-handlers-meta' {
  export const handlersMeta: {
    /** As the router knows it; middleware has none. */
    route?: string
    /** Undefined: any. */
    method?: string
    meta: import('nitropack/types').NitroRouteMeta | null
  }[]
}
