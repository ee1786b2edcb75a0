import * as v from 'valibot'
import type { TokenStore } from '../../storage'
import type { Config } from '../config'
import { KeeperError } from '../errors'
import { type Clock, wallTimeOf } from '../keeper/clock'
import { type Keeper, notConfigured } from '../keeper/keeper'
import { parseJson } from '../yoto/outcome'

/** Milliseconds for which a late question still hears how a sign-in ended. */
const OUTCOME_KEPT = 600_000
/** Milliseconds between two looks for what nobody asks for any more. */
const CLEANING_INTERVAL = 60_000
const MOST_OPEN = 20

const Time = v.pipe(v.string(), v.isoTimestamp())

const begun = { version: v.literal(1), client_id: v.string(), server: v.string(), began_at: Time, expires_at: Time }

const DeviceLogin = v.object({
  ...begun,
  device_code: v.string(),
  user_code: v.string(),
  verification_uri: v.string(),
  verification_uri_complete: v.string(),
  /** Milliseconds. */
  interval: v.number(),
  next_poll_at: Time,
})

const BrowserLogin = v.object({
  ...begun,
  /** RFC 7636. */
  code_verifier: v.string(),
  redirect_uri: v.string(),
  /** SHA-256 of what the browser that began it holds in a cookie. */
  browser: v.string(),
})

const Ended = v.object({
  version: v.literal(1),
  ended_at: Time,
  status: v.picklist(['success', 'expired', 'error']),
  error: v.optional(v.string()),
  message: v.string(),
  /** Random, of the way back that took this sign-in: no two write the same. */
  taken_by: v.optional(v.string()),
})

export type DeviceLogin = v.InferOutput<typeof DeviceLogin>
export type BrowserLogin = v.InferOutput<typeof BrowserLogin>
export type LoginOutcome = v.InferOutput<typeof Ended>
/** A sign-in that has begun and not ended, or how it ended: `.yoto_login_<handle>.json`. */
export type PendingLogin = DeviceLogin | BrowserLogin | LoginOutcome

const PREFIX = '.yoto_login_'
const keyOf = (handle: string) => `${PREFIX}${handle}.json`

export const isDevice = (login: PendingLogin): login is DeviceLogin => 'device_code' in login
export const isBrowser = (login: PendingLogin): login is BrowserLogin => 'code_verifier' in login
export const hasEnded = (login: PendingLogin): login is LoginOutcome => 'ended_at' in login

export interface PendingLogins {
  /** With `raw` as it lies there, for a conditional write. */
  read(handle: string): Promise<{ login: PendingLogin; raw: string } | undefined>
  readAll(): Promise<{ handle: string; login: PendingLogin }[]>
  /** @throws StorageError `conflict` if `onlyIf` is given and something else is stored */
  write(handle: string, login: PendingLogin, onlyIf?: string): Promise<void>
  /** @throws KeeperError why no sign-in can begin now */
  requireRoom(): Promise<void>
  /** Removes what nobody asks for any more. */
  removeOld(): Promise<void>
  /** When there will be something to remove, as far as is known here: milliseconds since 1970, or Infinity. */
  nextRemoval(): number
}

/** Where sign-ins of both kinds are kept until they end, and their outcomes for a while after. */
export function createPendingLogins(parts: {
  config: Config
  store: TokenStore
  keeper: Keeper
  clock: Clock
}): PendingLogins {
  const { config, store, keeper, clock } = parts
  let lastCleaning = Number.NEGATIVE_INFINITY
  let oldAt = Number.POSITIVE_INFINITY

  async function read(handle: string) {
    const raw = await store.read(keyOf(handle))
    const parsed = v.safeParse(v.union([DeviceLogin, BrowserLogin, Ended]), parseJson(raw ?? ''))
    return parsed.success && raw !== null ? { login: parsed.output, raw } : undefined
  }

  async function readAll() {
    const keys = (await store.keys()).filter((key) => key.startsWith(PREFIX) && key.endsWith('.json'))
    const handles = keys.map((key) => key.slice(PREFIX.length, -'.json'.length))
    const all = await Promise.all(handles.map(async (handle) => ({ handle, login: (await read(handle))?.login })))
    const found = all.filter((one): one is { handle: string; login: PendingLogin } => one.login !== undefined)
    oldAt = Math.min(Number.POSITIVE_INFINITY, ...found.map(({ login }) => becomesOldAt(login)))
    return found
  }

  /** An open device login never does: its next poll ends it. */
  function becomesOldAt(login: PendingLogin): number {
    if (isDevice(login)) return Number.POSITIVE_INFINITY
    return Date.parse(hasEnded(login) ? login.ended_at : login.expires_at) + OUTCOME_KEPT
  }

  return {
    read,
    readAll,

    async write(handle, login, onlyIf) {
      await store.write(keyOf(handle), `${JSON.stringify(login)}\n`, onlyIf)
      oldAt = Math.min(oldAt, becomesOldAt(login))
    },

    async requireRoom() {
      if (!config.clientId) throw notConfigured()
      const { storage: unavailable } = keeper.snapshot()
      if (unavailable) throw unavailable
      const open = (await readAll()).filter(
        ({ login }) => !hasEnded(login) && Date.parse(login.expires_at) > clock.wall(),
      )
      if (open.length >= MOST_OPEN) {
        throw new KeeperError('too_many_requests', `${MOST_OPEN} sign-ins are under way already.`, {
          hint: 'Finish one of them, or wait until they have run out.',
          retryAfter: 60_000,
        })
      }
    },

    async removeOld() {
      if (clock.monotonic() - lastCleaning < CLEANING_INTERVAL) return
      lastCleaning = clock.monotonic()
      const isOld = ({ login }: { login: PendingLogin }) => clock.wall() > becomesOldAt(login)
      const old = (await readAll()).filter(isOld)
      for (const { handle } of old) await store.remove(keyOf(handle))
      if (old.length > 0) await readAll() // notes when the next one will be
    },

    nextRemoval() {
      return Math.max(oldAt, wallTimeOf(lastCleaning + CLEANING_INTERVAL, clock))
    },
  }
}
