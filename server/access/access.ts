import type { TokenStorage } from '../../storage'
import { KeeperError } from '../errors'
import {
  equal,
  KEEPER_KEY,
  type MadeKey,
  parseMadeKey,
  randomSecret,
  readOrMake,
  SESSION_SECRET,
  sign,
} from './secrets'

/** Milliseconds that a browser stays unlocked. */
export const SESSION_LIFETIME = 30 * 24 * 3_600_000

export interface Access {
  /** Whether this is the owner's key. The first use of a made key ends the printing of its link. */
  isKey(presented: string): Promise<boolean>
  /** A cookie's value for a browser that has shown the key. */
  openSession(): Promise<string>
  isSession(value: string): Promise<boolean>
  /** Ends every session everywhere. */
  endSessions(): Promise<void>
  /** The made key while it has not been used: for the link that is printed at start. */
  unusedKey(): Promise<string | undefined>
}

/**
 * Who may call: whoever shows the owner's key. Without `KEEPER_KEY` one is made once and kept beside the token.
 * A session is its end and a signature over that and the key, under a stored secret: a new key or a new secret ends it.
 */
export function createAccess(storage: TokenStorage, keeperKey: string | undefined): Access {
  let made: MadeKey | undefined

  async function madeKey(): Promise<MadeKey> {
    if (made) return made
    const stored = await readOrMake(
      storage,
      KEEPER_KEY,
      () => `${JSON.stringify({ key: randomSecret(), used: false })}\n`,
    )
    made = parseMadeKey(stored)
    if (!made) {
      throw new KeeperError('storage_unavailable', `${KEEPER_KEY} cannot be read as a key.`, {
        hint: `Set KEEPER_KEY, or remove ${KEEPER_KEY} so that a new key is made.`,
      })
    }
    return made
  }

  const ownerKey = async () => keeperKey ?? (await madeKey()).key

  /** Read every time, as another instance may have ended the sessions. */
  async function signature(until: string): Promise<string> {
    const secret = await readOrMake(storage, SESSION_SECRET, randomSecret)
    return sign(secret, `session ${until} ${await ownerKey()}`)
  }

  return {
    async isKey(presented) {
      const right = await equal(presented, await ownerKey())
      if (right && !keeperKey && made && !made.used) {
        made = { ...made, used: true }
        await storage.setItemRaw(KEEPER_KEY, `${JSON.stringify(made)}\n`).catch(() => {}) // then the link is printed once more
      }
      return right
    },

    async openSession() {
      const until = String(Date.now() + SESSION_LIFETIME)
      return `${until}.${await signature(until)}`
    },

    async isSession(value) {
      const [until = '', mac = ''] = value.split('.')
      const left = Number(until) - Date.now()
      return left > 0 && left <= SESSION_LIFETIME && (await equal(mac, await signature(until)))
    },

    async endSessions() {
      await storage.setItemRaw(SESSION_SECRET, randomSecret())
    },

    async unusedKey() {
      if (keeperKey) return undefined
      const { key, used } = await madeKey()
      return used ? undefined : key
    },
  }
}
