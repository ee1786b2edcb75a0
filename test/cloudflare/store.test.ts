import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild' // as tsx brings it along
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StorageError, type TokenStore } from '../../storage'
import { type Miniflare, startMiniflare } from '../platforms/miniflare'
import { storeConformance } from '../storage/store-conformance'
import type { Call, Result } from './store-worker'

// The store within a real Durable Object, in workerd.

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
  const id = randomUUID()
  async function tell(what: Call['what'], key = '', value = '', onlyIf?: string | null): Promise<unknown> {
    const body = JSON.stringify({ store: id, what, key, value, onlyIf } satisfies Call)
    const answer = await runtime().dispatchFetch('http://store', { method: 'POST', body })
    const result = (await answer.json()) as Result
    if ('value' in result) return result.value
    if (!('error' in result)) return undefined
    const { name, code, message } = result.error
    throw name === 'StorageError' ? new StorageError(code as StorageError['code'], message) : new Error(message)
  }
  const store = {
    read: (key) => tell('read', key),
    write: (key, value, onlyIf) => tell('write', key, value, onlyIf),
    remove: (key) => tell('remove', key),
    keys: () => tell('keys'),
  } as { [Name in keyof TokenStore]: (...given: Parameters<TokenStore[Name]>) => Promise<unknown> } as TokenStore
  return { tell, store }
}

storeConformance('Durable Object', () => ({ store: openStore().store, end: () => {} }))

describe('Durable Object', () => {
  it('lets one of many writers within the object through', async () => {
    const { tell, store } = openStore()
    await store.write(KEY, 'old')
    const outcomes = (await tell('race', KEY, 'old')) as string[]
    expect(outcomes.filter((outcome) => outcome === 'written')).toHaveLength(1)
    expect(outcomes.filter((outcome) => outcome === 'conflict')).toHaveLength(19)
    expect(await store.read(KEY)).toBe(String(outcomes.indexOf('written')))
  })

  it.each([
    ['of one byte each', 'x'.repeat(1024 * 1024)],
    ['of which one needs more', `${'x'.repeat(1024 * 1024 - 4)}🎧`],
    ['of three bytes each', `${'€'.repeat((1024 * 1024 - 1) / 3)}x`],
  ])('keeps 1 MiB of characters %s, and refuses one more', async (_, value) => {
    const { store } = openStore()
    await store.write(KEY, value)
    expect((await store.read(KEY)) === value).toBe(true)
    await expect(store.write(KEY, `${value}x`)).rejects.toMatchObject({ code: 'unusable' })
    expect((await store.read(KEY)) === value).toBe(true)
  })

  it('does not hand out what is no text', async () => {
    const { tell, store } = openStore()
    await tell('putNumber', KEY)
    await expect(store.read(KEY)).rejects.toMatchObject({ code: 'unusable' })
  })

  it('says so where the object has no SQLite storage', async () => {
    const { store } = openStore(() => older)
    await expect(store.read(KEY)).rejects.toMatchObject({ code: 'unavailable', message: /SQL/ })
    await expect(store.write(KEY, 'value')).rejects.toMatchObject({ code: 'unavailable' })
    await expect(store.keys()).rejects.toMatchObject({ code: 'unavailable' })
  })
})
