import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { StorageError, type TokenStore } from '../../storage'
import { mounted } from '../support/mounted'

export interface StoreUnderTest {
  /** Empty. */
  store: TokenStore
  end(): void | Promise<void>
}

interface Exemptions {
  /** A reader may see a value while it is being written. */
  partsSeen?: boolean
}

const WAYS: [string, (store: TokenStore) => TokenStore][] = [
  ['itself', (store) => store],
  ['mounted on unstorage', mounted],
]

/** What every store must do, whatever it is made of, by itself and through unstorage. */
export function storeConformance(
  name: string,
  make: () => StoreUnderTest | Promise<StoreUnderTest>,
  { partsSeen = false }: Exemptions = {},
): void {
  describe.each(WAYS)(`${name}, %s: what every store does`, (_, through) => {
    let store: TokenStore
    let end: StoreUnderTest['end']
    beforeEach(async () => {
      const made = await make()
      store = through(made.store)
      end = made.end
    })
    afterEach(() => end())

    const KEY = '.yoto_refresh_token'
    const get = (key = KEY) => store.read(key)
    const set = (value: string, onlyIf?: string | null, key = KEY) => store.write(key, value, onlyIf)
    const outcomeOf = (write: Promise<void>) =>
      write.then(
        () => 'written',
        (error) => (error instanceof StorageError ? error.code : error),
      )

    it.each([
      ['a number', '123'],
      ['true', 'true'],
      ['null', 'null'],
      ['undefined', 'undefined'],
      ['JSON', '{"a":1}'],
      ['a JSON string', '"quoted"'],
      ['nothing', ''],
      ['white space before and after', ' \t token \r\n'],
      ['white space only', '\n'],
      ['unicode', 'ŷöţø 🎧 \u2028 \ufeff'],
      ['what looks like base64 of unstorage', 'base64:AAEC'],
      ['64 kB', 'Rt-_'.repeat(16 * 1024)],
    ])('keeps %s byte for byte', async (_, value) => {
      await set(value)
      expect(await get()).toBe(value)
    })

    it('overwrites a value with a longer and a shorter one', async () => {
      for (const value of ['middle', 'a longer value', 'short']) {
        await set(value)
        expect(await get()).toBe(value)
      }
    })

    it('has null where there is nothing', async () => {
      expect(await get()).toBeNull()
    })

    it('removes a value, and does not mind when there is none', async () => {
      await set('value')
      await store.remove(KEY)
      expect(await get()).toBeNull()
      await store.remove(KEY)
      expect(await store.keys()).toEqual([])
    })

    it('lists the keys that are there', async () => {
      const keys = ['.yoto_refresh_token', '.yoto_token_set.json', '.yoto_login_0123abcd.json']
      for (const key of keys) await set('value', undefined, key)
      await set('value', undefined, '.yoto_journal.json')
      await store.remove('.yoto_journal.json')
      expect((await store.keys()).sort()).toEqual(keys.sort())
    })

    it('keeps keys apart', async () => {
      await set('one', undefined, '.yoto_refresh_token')
      await set('two', undefined, '.yoto_token_set.json')
      expect(await get('.yoto_refresh_token')).toBe('one')
      expect(await get('.yoto_token_set.json')).toBe('two')
    })

    it('writes only if the expected value is there', async () => {
      await set('old')
      await set('new', 'old')
      expect(await get()).toBe('new')
    })

    it.each([
      ['another value', 'other'],
      ['the expected value with a line end', 'old\n'],
      ['the beginning of the expected value', 'ol'],
      ['an empty value', ''],
    ])('is a conflict, and changes nothing, where %s is there', async (_, there) => {
      await set(there)
      expect(await outcomeOf(set('new', 'old'))).toBe('conflict')
      expect(await get()).toBe(there)
    })

    it('is a conflict where the expected value was removed', async () => {
      expect(await outcomeOf(set('new', 'old'))).toBe('conflict')
      expect(await get()).toBeNull()
    })

    it('writes only if nothing is there, when that is expected', async () => {
      await set('new', null)
      expect(await get()).toBe('new')
      expect(await outcomeOf(set('newer', null))).toBe('conflict')
      expect(await get()).toBe('new')
    })

    it('does not mind a conditional write that is repeated', async () => {
      await set('old')
      for (let attempt = 0; attempt < 2; attempt++) await set('new', 'old')
      await store.remove(KEY)
      for (let attempt = 0; attempt < 2; attempt++) await set('new', null)
      expect(await get()).toBe('new')
    })

    it('lets one of many conditional writers through', async () => {
      for (const onlyIf of [null, 'old']) {
        if (onlyIf) await set(onlyIf)
        const writes = Array.from({ length: 20 }, (_, number) => outcomeOf(set(`new ${number}`, onlyIf)))
        const outcomes = await Promise.all(writes)
        expect(outcomes.filter((outcome) => outcome === 'written')).toHaveLength(1)
        expect(outcomes.filter((outcome) => outcome === 'conflict')).toHaveLength(19)
        expect(await get()).toBe(`new ${outcomes.indexOf('written')}`)
      }
    })

    it.skipIf(partsSeen)('shows a reader whole values only, and ends with one, while many write', async () => {
      const values = Array.from({ length: 20 }, (_, number) => String.fromCharCode(65 + number).repeat(64 * 1024))
      await set(values[0] as string)
      let isWriting = true
      const reading = (async () => {
        const seen = new Set<string | null>()
        while (isWriting) seen.add(await get())
        return seen
      })()
      await Promise.all(values.map((value) => set(value)))
      isWriting = false
      for (const value of [...(await reading), await get()]) expect(values.includes(value ?? '')).toBe(true)
    })
  })
}
