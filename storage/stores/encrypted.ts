import { StorageError } from '../errors'
import type { TokenStore } from '../store'

const TYPE = 'yoto-token-keeper'
/** What every value of ours begins with, even one that was cut: no token of somebody else's has our `typ` first in its header. */
const PREFIX = btoa(`{"typ":"${TYPE}",`).replaceAll('=', '')

interface Key {
  /** Tells which key a value was encrypted with, and nothing about the key. */
  id: string
  bytes: Uint8Array
}

/**
 * A store over another one: values are JWE (RFC 7516) in compact form, AES-256-GCM. Their protected header holds the key's
 * id and the name that the value is stored under, so that none can be put in another's place.
 *
 * A plain value is read as it is and encrypted when it is next written. One that cannot be opened is neither handed out nor written
 * over: StorageError `unusable` says what to set.
 *
 * jose is loaded by the first value that is encrypted: without a key there is none, and the start does not wait for it.
 *
 * @param secrets of high entropy: values are encrypted with the first, and opened with whichever they were encrypted with; empty: plain
 */
export function encrypted(store: TokenStore, secrets: readonly string[]): TokenStore {
  let derived: Promise<Key[]> | undefined
  const keys = () => (derived ??= Promise.all(secrets.map(deriveKey)))

  async function read(name: string): Promise<string | null> {
    return open(name, await store.read(name))
  }

  async function open(name: string, raw: string | null): Promise<string | null> {
    const value = raw?.trim() ?? ''
    if (!value.startsWith(PREFIX)) return raw
    const header = await headerOf(value)
    const key = (await keys()).find(({ id }) => id === header?.kid)
    if (header && !key) {
      throw new StorageError(
        'unusable',
        `${name} is encrypted, and ${secrets.length > 0 ? 'KEEPER_ENCRYPTION_KEY has another key' : 'KEEPER_ENCRYPTION_KEY is not set'}`,
        `Set KEEPER_ENCRYPTION_KEY to the key that it was encrypted with and restart, or move ${name} away; it is left as it is.`,
      )
    }
    const plaintext = key && header?.name === name ? await decrypt(value, key) : undefined
    if (plaintext === undefined) {
      throw new StorageError('unusable', `${name} is encrypted, and damaged`, `Move ${name} away; it is left as it is.`)
    }
    return plaintext
  }

  async function write(name: string, value: string, onlyIf?: string | null): Promise<void> {
    const raw = await store.read(name)
    const current = await open(name, raw)
    // Below, it is the bytes that are compared. A repeated write finds its own value.
    const expected = current === onlyIf || current === value ? raw : onlyIf
    await store.write(name, await seal(name, value), onlyIf === undefined ? undefined : expected)
  }

  async function seal(name: string, value: string): Promise<string> {
    const [key] = await keys()
    if (!key) return value
    const { CompactEncrypt } = await import('jose')
    const header = { typ: TYPE, alg: 'dir', enc: 'A256GCM', kid: key.id, name }
    return new CompactEncrypt(new TextEncoder().encode(value)).setProtectedHeader(header).encrypt(key.bytes)
  }

  return {
    read,
    write,
    remove: (name) => store.remove(name),
    keys: () => store.keys(),
  }
}

async function headerOf(value: string): Promise<Record<string, unknown> | undefined> {
  const { decodeProtectedHeader } = await import('jose')
  try {
    return decodeProtectedHeader(value)
  } catch {
    return undefined
  }
}

async function decrypt(value: string, key: Key): Promise<string | undefined> {
  const { compactDecrypt } = await import('jose')
  try {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode((await compactDecrypt(value, key.bytes)).plaintext)
  } catch {
    return undefined
  }
}

/** HKDF (RFC 5869) without salt: the secret has entropy of its own. */
async function deriveKey(secret: string): Promise<Key> {
  const material = await crypto.subtle.importKey('raw', new TextEncoder().encode(secret), 'HKDF', false, ['deriveBits'])
  const derive = async (use: string, bits: number) => {
    const info = new TextEncoder().encode(`${TYPE} ${use}`)
    const algorithm = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info }
    return new Uint8Array(await crypto.subtle.deriveBits(algorithm, material, bits))
  }
  const [bytes, id] = await Promise.all([derive('encryption', 256), derive('key id', 64)])
  return { bytes, id: [...id].map((byte) => byte.toString(16).padStart(2, '0')).join('') }
}
