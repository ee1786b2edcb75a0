import * as v from 'valibot'
import { isStorageError, type TokenStore } from '../../storage'
import type { Config } from '../config'
import { KeeperError } from '../errors'
import { randomHex } from '../hex'
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
  kind: v.literal('device'),
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
  kind: v.literal('browser'),
  ...begun,
  /** RFC 7636. */
  code_verifier: v.string(),
  redirect_uri: v.string(),
  /** SHA-256 of what the browser that began it holds in a cookie. */
  browser: v.string(),
})

const Ended = v.object({
  kind: v.literal('ended'),
  version: v.literal(1),
  ended_at: Time,
  status: v.picklist(['success', 'expired', 'error']),
  error: v.optional(v.string()),
  message: v.string(),
  /** Random: no two write the same, and so one of them is the first. */
  taken_by: v.optional(v.string()),
})

export type DeviceLogin = v.InferOutput<typeof DeviceLogin>
export type BrowserLogin = v.InferOutput<typeof BrowserLogin>
export type LoginOutcome = v.InferOutput<typeof Ended>
/** A sign-in that has begun and not ended, or how it ended: `.yoto_login_<handle>.json`. */
export type PendingLogin = DeviceLogin | BrowserLogin | LoginOutcome

const PendingLogin = v.variant('kind', [DeviceLogin, BrowserLogin, Ended])

/** With `raw` as it lies there, for a conditional write. */
export interface Found<Login = PendingLogin> {
  login: Login
  raw: string
}

/** What is told of an end. */
export type LoginEnd = Pick<LoginOutcome, 'status' | 'error' | 'message'>

const PREFIX = '.yoto_login_'
const keyOf = (handle: string) => `${PREFIX}${handle}.json`

export interface PendingLogins {
  read(handle: string): Promise<Found | undefined>
  readAll(): Promise<{ handle: string; login: PendingLogin }[]>
  /**
   * Writes a login that goes on.
   * @param onlyIf what was read; null: it begins
   * @returns as it lies there now
   * @throws StorageError `conflict` if something else is stored
   */
  write(handle: string, login: DeviceLogin | BrowserLogin, onlyIf: string | null): Promise<string>
  /**
   * Ends a login. The first outcome stands, whoever writes it.
   * @param raw what was read, or an outcome of one's own that this one replaces
   * @returns as it lies there now; undefined if another outcome stands
   */
  end(handle: string, ending: LoginEnd, raw: string): Promise<string | undefined>
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

  async function read(handle: string): Promise<Found | undefined> {
    const raw = await store.read(keyOf(handle))
    const login = raw === null ? undefined : parse(raw)
    return raw !== null && login ? { login, raw } : undefined
  }

  async function write(handle: string, login: PendingLogin, onlyIf: string | null): Promise<string> {
    const raw = `${JSON.stringify(login)}\n`
    await store.write(keyOf(handle), raw, onlyIf)
    oldAt = Math.min(oldAt, becomesOldAt(login))
    return raw
  }

  async function end(handle: string, ending: LoginEnd, raw: string): Promise<string | undefined> {
    const ended_at = new Date(clock.wall()).toISOString()
    const outcome: LoginOutcome = { kind: 'ended', version: 1, ended_at, ...ending, taken_by: randomHex(128) }
    for (let found: string | null = raw; ; ) {
      try {
        return await write(handle, outcome, found)
      } catch (error) {
        if (!isStorageError(error, 'conflict')) throw error
      }
      found = await store.read(keyOf(handle))
      if (found !== null && parse(found)?.kind === 'ended') return undefined
    }
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
    if (login.kind === 'device') return Number.POSITIVE_INFINITY
    return Date.parse(login.kind === 'ended' ? login.ended_at : login.expires_at) + OUTCOME_KEPT
  }

  return {
    read,
    readAll,
    write,
    end,

    async requireRoom() {
      if (!config.clientId) throw notConfigured()
      const { storage: unavailable } = keeper.snapshot()
      if (unavailable) throw unavailable
      const open = (await readAll()).filter(
        ({ login }) => login.kind !== 'ended' && Date.parse(login.expires_at) > clock.wall(),
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

function parse(raw: string): PendingLogin | undefined {
  const parsed = v.safeParse(PendingLogin, tagged(parseJson(raw)))
  return parsed.success ? parsed.output : undefined
}

/** Records were not tagged by kind at first, and are told apart by what only they have. */
function tagged(record: unknown): unknown {
  if (typeof record !== 'object' || record === null || 'kind' in record) return record
  const kind = 'device_code' in record ? 'device' : 'code_verifier' in record ? 'browser' : 'ended'
  return { kind, ...record }
}
