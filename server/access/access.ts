import type { TokenStore } from '../../storage'
import type { Config } from '../config'
import { KeeperError } from '../errors'
import { sha256 } from '../sha256'
import type { Guesses } from './guesses'
import {
  equal,
  equalDigests,
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

/** Whose key it is. */
export type Holder = 'owner' | { tool: string }

export interface Access {
  /**
   * Tells whose key this is. The first use of a made key ends the printing of its link.
   * @param address where the caller is, if that is known for certain: wrong keys are counted by it
   * @throws KeeperError `unauthorized`, `too_many_requests` after a few wrong ones, `not_configured` where no key can be had
   */
  identify(presented: string, address?: string): Promise<Holder>
  /** @throws KeeperError `not_configured` where no owner's key is set and none can be made */
  requireKey(): void
  /** A cookie's value for a browser that has shown the owner's key. */
  openSession(): Promise<string>
  isSession(value: string): Promise<boolean>
  /** Ends every session everywhere. */
  endSessions(): Promise<void>
  /** The made key while it has not been used: for the link that is printed at start. Throws as identify does. */
  unusedKey(): Promise<string | undefined>
  /** Saves the stored secrets once more, so that they are encrypted with the newest key. */
  saveAgain(): Promise<void>
}

type Keys = Pick<Config, 'keeperKey' | 'toolKeys' | 'storageWarning'>

/** No key is set, and where files do not last none can be made: it would be another one after every deployment. */
export function isKeyMissing({ keeperKey, storageWarning }: Pick<Config, 'keeperKey' | 'storageWarning'>): boolean {
  return !keeperKey && storageWarning !== undefined
}

/**
 * Who may call: whoever shows the owner's key, and tools with theirs. Without `KEEPER_KEY` an owner's key is made once and kept beside
 * the token. A session is its end and a signature over that and the key, under a stored secret: a new key or a new secret ends it.
 *
 * @param noteRefusal called when wrong keys begin to be answered with `too_many_requests`
 */
export function createAccess(store: TokenStore, keys: Keys, noteRefusal = () => {}): Access {
  /** Loaded when the first wrong key is shown. */
  let guesses: Promise<Guesses> | undefined
  let made: MadeKey | undefined
  const tools = keys.toolKeys.map(({ name, key }) => ({ name, digest: sha256(key) }))
  let owners: string | undefined

  function requireKey(): void {
    if (!isKeyMissing(keys)) return
    throw new KeeperError('not_configured', 'No keeper key is set, and none can be made where files do not last.', {
      hint: 'Set KEEPER_KEY to a long random text: make one with `openssl rand -hex 32`.',
    })
  }

  async function madeKey(): Promise<MadeKey> {
    if (made) return made
    requireKey()
    const stored = await readOrMake(
      store,
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

  const ownerKey = async () => keys.keeperKey ?? (await madeKey()).key

  /** Undefined: no tool's. Every key is compared, whichever fits. */
  function toolOf(shown: string): Holder | undefined {
    const [tool] = tools.filter((one) => equalDigests(shown, one.digest))
    return tool && { tool: tool.name }
  }

  async function isOwners(shown: string): Promise<boolean> {
    owners ??= sha256(await ownerKey())
    return equalDigests(shown, owners)
  }

  /** Read every time, as another instance may have ended the sessions. */
  async function signature(until: string): Promise<string> {
    const secret = await readOrMake(store, SESSION_SECRET, randomSecret)
    return sign(secret, `session ${until} ${await ownerKey()}`)
  }

  return {
    async identify(presented, address) {
      const shown = sha256(presented)
      // First: the right key gets in, however many wrong ones came before.
      const holder = toolOf(shown) ?? ((await isOwners(shown)) ? 'owner' : undefined)
      if (!holder) {
        guesses ??= import('./guesses').then(({ countGuesses }) => countGuesses())
        const tooMany = await (await guesses).count(address)
        if (!tooMany) throw unauthorized('This is not the keeper key.')
        if (tooMany.first) noteRefusal()
        throw new KeeperError('too_many_requests', 'Too many wrong keys were shown.', {
          hint: 'Wait a minute and check the key; the right one is taken at any time.',
          retryAfter: tooMany.wait,
        })
      }
      if (holder === 'owner' && made && !made.used) {
        made = { ...made, used: true }
        await store.write(KEEPER_KEY, `${JSON.stringify(made)}\n`).catch(() => {}) // then the link is printed once more
      }
      return holder
    },

    requireKey,

    async openSession() {
      const until = String(Date.now() + SESSION_LIFETIME)
      return `${until}.${await signature(until)}`
    },

    async isSession(value) {
      const [until = '', mac = ''] = value.split('.')
      const left = Number(until) - Date.now()
      return left > 0 && left <= SESSION_LIFETIME && equal(mac, await signature(until))
    },

    async endSessions() {
      await store.write(SESSION_SECRET, randomSecret())
    },

    async unusedKey() {
      if (keys.keeperKey) return undefined
      const { key, used } = await madeKey()
      return used ? undefined : key
    },

    async saveAgain() {
      for (const key of [KEEPER_KEY, SESSION_SECRET]) {
        const value = await store.read(key)
        if (value !== null) await store.write(key, value, value)
      }
    },
  }
}

export function unauthorized(message: string): KeeperError {
  return new KeeperError('unauthorized', message, {
    hint: 'Send Authorization: Bearer with the keeper key: the value of KEEPER_KEY, or the one in the link that the service prints at its start.',
  })
}
