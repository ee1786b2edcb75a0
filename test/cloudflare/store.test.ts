import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild' // as tsx brings it along
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StorageError, type TokenStorage } from '../../storage'
import { type Miniflare, startMiniflare } from '../platforms/miniflare'
import { storeConformance } from '../storage/store-conformance'
import type { Call, Result } from './store-worker'

// The driver within a real Durable Object, in workerd.

const KEY = '.yoto_refresh_token'

let sqlite: Miniflare
let older: Miniflare

beforeAll(async () => {
  const entry = fileURLToPath(new URL('store-worker.ts', import.meta.url))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, write: false, format: 'esm' })
  const script = outputFiles[0]?.text
  const start = (useSQLite: boolean) =>
    startMiniflare({
      modules: true,
      script,
      compatibilityDate: '2026-03-01',
      durableObjects: { STORES: { className: 'Store', useSQLite } },
    })
  sqlite = await start(true)
  older = await start(false)
})
afterAll(() => Promise.all([sqlite?.dispose(), older?.dispose()]))

function openStore(runtime: () => Miniflare = () => sqlite) {
  const store = randomUUID()
  async function tell(what: Call['what'], key = '', value = '', options = {}): Promise<unknown> {
    const body = JSON.stringify({ store, what, key, value, options } satisfies Call)
    const answer = await runtime().dispatchFetch('http://store', { method: 'POST', body })
    const result = (await answer.json()) as Result
    if ('value' in result) return result.value
    if (!('error' in result)) return undefined
    const { name, code, message } = result.error
    throw name === 'StorageError' ? new StorageError(code as StorageError['code'], message) : new Error(message)
  }
  const storage = {
    getItemRaw: (key: string) => tell('getItemRaw', key),
    setItemRaw: (key: string, value: string, options: object) => tell('setItemRaw', key, value, options),
    removeItem: (key: string) => tell('removeItem', key),
    getKeys: () => tell('getKeys'),
  } as unknown as TokenStorage
  return { tell, storage }
}

storeConformance('Durable Object', () => ({ storage: openStore().storage, end: () => {} }))

describe('Durable Object', () => {
  it('lets one of many writers within the object through', async () => {
    const { tell, storage } = openStore()
    await storage.setItemRaw(KEY, 'old')
    const outcomes = (await tell('race', KEY, 'old')) as string[]
    expect(outcomes.filter((outcome) => outcome === 'written')).toHaveLength(1)
    expect(outcomes.filter((outcome) => outcome === 'conflict')).toHaveLength(19)
    expect(await storage.getItemRaw(KEY)).toBe(String(outcomes.indexOf('written')))
  })

  it.each([
    ['of one byte each', 'x'.repeat(1024 * 1024)],
    ['of which one needs more', `${'x'.repeat(1024 * 1024 - 4)}🎧`],
    ['of three bytes each', `${'€'.repeat((1024 * 1024 - 1) / 3)}x`],
  ])('keeps 1 MiB of characters %s, and refuses one more', async (_, value) => {
    const { storage } = openStore()
    await storage.setItemRaw(KEY, value)
    expect((await storage.getItemRaw(KEY)) === value).toBe(true)
    await expect(storage.setItemRaw(KEY, `${value}x`)).rejects.toMatchObject({ code: 'unusable' })
    expect((await storage.getItemRaw(KEY)) === value).toBe(true)
  })

  it('does not hand out what is no text', async () => {
    const { tell, storage } = openStore()
    await tell('putNumber', KEY)
    await expect(storage.getItemRaw(KEY)).rejects.toMatchObject({ code: 'unusable' })
  })

  it('says so where the object has no SQLite storage', async () => {
    const { storage } = openStore(() => older)
    await expect(storage.getItemRaw(KEY)).rejects.toMatchObject({ code: 'unavailable', message: /SQL/ })
    await expect(storage.setItemRaw(KEY, 'value')).rejects.toMatchObject({ code: 'unavailable' })
    await expect(storage.getKeys()).rejects.toMatchObject({ code: 'unavailable' })
  })
})
