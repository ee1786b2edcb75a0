import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CompactEncrypt } from 'jose'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TokenStore } from '../../storage'
import { durableFiles } from '../../storage/stores/durable-files'
import { encrypted } from '../../storage/stores/encrypted'
import { storeConformance } from './store-conformance'

const NAME = '.yoto_refresh_token'
const [OLD, NEW] = ['old-key-'.repeat(4), 'new-key-'.repeat(4)] as const

function openStore(dir: string, ...secrets: string[]): TokenStore {
  return encrypted(durableFiles(dir), secrets)
}

const newFolder = () => mkdtemp(join(tmpdir(), 'encrypted-'))

describe.each([
  ['with a key', [OLD]],
  ['without a key', []],
])('%s', (name, secrets) => {
  storeConformance(`encrypted ${name}`, async () => {
    const dir = await newFolder()
    return { store: openStore(dir, ...secrets), end: () => rm(dir, { recursive: true }) }
  })
})

describe('encrypted', () => {
  let dir: string
  beforeEach(async () => {
    dir = await newFolder()
  })
  afterEach(() => rm(dir, { recursive: true }))

  const onDisk = (name = NAME) => readFile(join(dir, name), 'utf8')
  const put = (value: string, name = NAME) => writeFile(join(dir, name), value)
  const read = (store: TokenStore, name = NAME) => store.read(name)

  it.each(['token', '', '123', 'null', ' with space \n', 'ünïcödé', '\ufeffmarked', 'x'.repeat(100_000)])(
    'hides %j and gives it back byte for byte',
    async (value) => {
      await openStore(dir, OLD).write(NAME, value)
      expect(await onDisk()).toMatch(/^[\w-]+\.\.[\w-]+\.[\w-]*\.[\w-]+$/)
      expect(await read(openStore(dir, OLD))).toBe(value)
    },
  )

  it('makes another text of the same value each time', async () => {
    const store = openStore(dir, OLD)
    await store.write(NAME, 'token')
    const before = await onDisk()
    await store.write(NAME, 'token')
    expect(await onDisk()).not.toBe(before)
  })

  it('takes over a plain value, and encrypts it when it is next saved', async () => {
    await put('token\n')
    const store = openStore(dir, OLD)
    expect(await read(store)).toBe('token\n')
    expect(await onDisk()).toBe('token\n')
    await store.write(NAME, 'next', 'token\n')
    expect(await onDisk()).not.toContain('next')
    expect(await read(store)).toBe('next')
  })

  it('rotates: the first key encrypts, the others still open', async () => {
    await openStore(dir, OLD).write(NAME, 'token')
    const both = openStore(dir, NEW, OLD)
    expect(await read(both)).toBe('token')
    await both.write(NAME, 'token', 'token')
    expect(await read(openStore(dir, NEW))).toBe('token')
    await expect(read(openStore(dir, OLD))).rejects.toMatchObject({ code: 'unusable' })
  })

  it('does not mind white space that an editor has put around it', async () => {
    await openStore(dir, OLD).write(NAME, 'token')
    await put(` ${await onDisk()}\r\n`)
    expect(await read(openStore(dir, OLD))).toBe('token')
  })

  it.each([
    ['no key', [], 'is not set'],
    ['another key', [NEW], 'has another key'],
  ])('says what to set when there is %s, and leaves the value alone', async (_, secrets, message) => {
    await openStore(dir, OLD).write(NAME, 'token')
    const before = await onDisk()
    const store = openStore(dir, ...secrets)
    const refusal = {
      code: 'unusable',
      message: expect.stringContaining(message),
      hint: expect.stringMatching(/^Set KEEPER_ENCRYPTION_KEY/),
    }
    await expect(read(store)).rejects.toMatchObject(refusal)
    for (const onlyIf of [undefined, null, 'token', before]) {
      await expect(store.write(NAME, 'new', onlyIf)).rejects.toMatchObject(refusal)
    }
    expect(await onDisk()).toBe(before)
    await store.remove(NAME)
    expect(await read(store)).toBeNull()
  })

  const cut = (value: string) => value.slice(0, value.length - 5)
  it.each([
    ['cut at its end', cut],
    ['cut in its header', (value: string) => value.slice(0, 60)],
    ['cut to the first letters of its header', (value: string) => value.slice(0, 36)],
    // The first letter of its tag: not every bit of the last one counts.
    [
      'changed in one letter',
      (value: string) => value.replace(/\.(.)([^.]*)$/, (_, first, rest) => `.${first === 'A' ? 'B' : 'A'}${rest}`),
    ],
    ['with a part too many', (value: string) => `${value}.x`],
  ])('is told when it is %s: never taken for a token', async (_, damage) => {
    const store = openStore(dir, OLD)
    await store.write(NAME, 'token')
    await put(damage(await onDisk()))
    await expect(read(store)).rejects.toMatchObject({ code: 'unusable', message: expect.stringContaining('damaged') })
  })

  it('lies over whole stores only: over one that cannot write, every save would seem to succeed', () => {
    const { write: _, ...store } = durableFiles(dir)
    // @ts-expect-error `write` is missing
    encrypted(store, [OLD])
  })

  it('in the place of another value is none', async () => {
    const store = openStore(dir, OLD)
    await store.write('.yoto_session_secret', 'known to somebody')
    await put(await onDisk('.yoto_session_secret'))
    await expect(read(store)).rejects.toMatchObject({ code: 'unusable' })
  })

  it.each([
    ['without a key', []],
    ['with a key', [OLD]],
  ])("%s: a token that is a JWE of somebody else's is a token", async (_, secrets) => {
    const key = new TextEncoder().encode('somebody-elses-key-of-32-letters')
    const header = { alg: 'dir', enc: 'A256GCM', typ: 'yoto-token-keeper', kid: 'x' }
    const token = await new CompactEncrypt(new TextEncoder().encode('x')).setProtectedHeader(header).encrypt(key)
    await put(token)
    const store = openStore(dir, ...secrets)
    expect(await read(store)).toBe(token)
    await store.write(NAME, token)
    expect(await read(store)).toBe(token)
  })
})
