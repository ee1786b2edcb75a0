/** miniflare, which is installed beside this file by the package.json there; the part of it that is used. */
export interface Miniflare {
  ready: Promise<URL>
  dispatchFetch(url: string, init?: RequestInit): Promise<Response>
  dispose(): Promise<void>
}

export async function startMiniflare(options: Record<string, unknown>): Promise<Miniflare> {
  const { Miniflare } = await import('miniflare' as string)
  const miniflare: Miniflare = new Miniflare({ host: '127.0.0.1', ...options })
  await miniflare.ready
  return miniflare
}
