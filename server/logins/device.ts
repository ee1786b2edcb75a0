import { type HeldLease, isStorageError, type Lease } from '../../storage'
import type { Config } from '../config'
import { KeeperError } from '../errors'
import { randomHex } from '../hex'
import type { Clock } from '../keeper/clock'
import type { Journal } from '../keeper/journal'
import type { Keeper } from '../keeper/keeper'
import { type PollOutcome, pollDeviceCode, requestDeviceCode } from '../yoto/device-code'
import type { DeviceLogin, Found, LoginEnd, LoginOutcome, PendingLogins } from './pending'

/** Milliseconds. */
const SLOWER = 5_000
const LONGEST_PAUSE = 60_000

/** What is said of a login. */
export interface LoginState {
  status: 'pending' | LoginOutcome['status']
  message: string
  error?: string
}

export interface DeviceLogins {
  /** Takes up what was under way before a restart. */
  start(): Promise<void>
  /**
   * Begins a sign-in by code (RFC 8628).
   * @throws KeeperError `not_configured`, `storage_unavailable`, `too_many_requests`, `yoto_*`
   */
  begin(): Promise<{ handle: string; login: DeviceLogin }>
  /** @throws KeeperError `not_found` for a handle that is not known (any more) */
  state(handle: string): Promise<LoginState>
  /** The login that was begun last, if one is open. */
  newest(): Promise<{ handle: string; login: DeviceLogin } | undefined>
  /** Polls what is due; to be called every so often. */
  tick(): Promise<void>
  /** When `tick` is to be called next, where nobody calls it every so often: milliseconds since 1970; undefined: there is no need. */
  nextDue(): number | undefined
  /** Begins no poll any more; resolves when the one under way, and the sign-in that it may bring, has ended. */
  close(): Promise<void>
}

const iso = (time: number) => new Date(time).toISOString()

/** Sign-ins by code (RFC 8628). */
export function createDeviceLogins(parts: {
  config: Config
  pending: PendingLogins
  /** One of its own, so that a poll that hangs holds up no refresh. */
  lease: Lease
  keeper: Keeper
  journal: Journal
  clock: Clock
}): DeviceLogins {
  const { config, pending, lease, keeper, journal, clock } = parts
  /** DeviceLogins that this process polls, with what went wrong lately. */
  const open = new Map<string, { nextPollAt: number; failures: number; trouble?: string }>()
  let beginning: Promise<unknown> = Promise.resolve()
  let polling: Promise<unknown> = Promise.resolve()
  let closing = false

  async function openOnes(): Promise<{ handle: string; login: DeviceLogin }[]> {
    return (await pending.readAll()).filter(
      (one): one is { handle: string; login: DeviceLogin } =>
        one.login.kind === 'device' && Date.parse(one.login.expires_at) > clock.wall(),
    )
  }

  function watch(handle: string, login: DeviceLogin): void {
    if (!open.has(handle)) open.set(handle, { nextPollAt: wakeAt(login, Date.parse(login.next_poll_at)), failures: 0 })
  }

  async function begin(): Promise<{ handle: string; login: DeviceLogin }> {
    await pending.requireRoom()
    const now = clock.wall()
    const code = await requestDeviceCode(config)
    const handle = randomHex(128)
    const login: DeviceLogin = {
      kind: 'device',
      version: 1,
      client_id: config.clientId ?? '',
      server: config.authUrl,
      device_code: code.deviceCode,
      user_code: code.userCode,
      verification_uri: code.verificationUri,
      verification_uri_complete: code.verificationUriComplete,
      began_at: iso(now),
      expires_at: iso(now + code.expiresIn),
      interval: code.interval,
      next_poll_at: iso(now + code.interval),
    }
    await pending.write(handle, login, null)
    watch(handle, login)
    journal.add('sign_in', 'begun', 'A sign-in by code has begun.')
    return { handle, login }
  }

  /** One poll, if it is time. Under the lease: one process polls a login at a time, at Yoto's pace over all of them. */
  async function advance(handle: string): Promise<void> {
    const held = await lease.tryAcquire()
    if (!held) return
    try {
      await advanceUnderLease(handle, held)
    } finally {
      await held.release()
    }
  }

  async function advanceUnderLease(handle: string, held: HeldLease): Promise<void> {
    const found = await pending.read(handle)
    if (found?.login.kind !== 'device') {
      open.delete(handle)
      return
    }
    const { login, raw } = found
    const now = clock.wall()
    if (now >= Date.parse(login.expires_at)) {
      return end(handle, raw, { status: 'expired', message: 'The code has run out.' })
    }
    if (login.client_id !== config.clientId || login.server !== config.authUrl) {
      return end(handle, raw, { status: 'error', message: 'The configuration was changed during this sign-in.' })
    }
    const wait = Date.parse(login.next_poll_at) - now
    if (wait > 0 && wait <= LONGEST_PAUSE + login.interval) {
      open.set(handle, { failures: 0, ...open.get(handle), nextPollAt: wakeAt(login, now + wait) })
      return
    }
    // Written before it is sent: whoever comes next, after a crash too, keeps Yoto's pace.
    const postponed = await postpone(handle, { login, raw }, login.interval)
    if (!postponed) return
    await held.check()
    const sent = { wall: clock.wall(), monotonic: clock.monotonic() }
    const outcome = await pollDeviceCode(config, login.device_code, clock.wall)
    if (outcome.meaning !== 'tokens') {
      await react(handle, postponed, outcome)
      return
    }
    if (!outcome.tokens.refreshToken) {
      const message =
        'Yoto issued no refresh token, so the sign-in would not last. Allow the scope offline_access for this client at yoto.dev.'
      return end(handle, postponed.raw, { status: 'error', error: 'invalid_scope', message })
    }
    const { otherAccount } = await keeper.signIn(outcome.tokens, sent)
    const message = otherAccount ? 'Signed in, to another account than before.' : 'Signed in.'
    await end(handle, postponed.raw, { status: 'success', message })
  }

  /** RFC 8628 3.5. Only an answer about this login ends it; the rest is waited out. */
  async function react(
    handle: string,
    found: Found<DeviceLogin>,
    outcome: Exclude<PollOutcome, { meaning: 'tokens' }>,
  ): Promise<unknown> {
    const { login, raw } = found
    switch (outcome.meaning) {
      case 'pending':
        open.set(handle, { nextPollAt: 0, failures: 0 }) // what went wrong before is over
        // Written, as the next poll may be another process's: this one may have been long on its way.
        return postpone(handle, found, login.interval)
      case 'slow_down':
        return postpone(
          handle,
          { login: { ...login, interval: login.interval + SLOWER }, raw },
          login.interval + SLOWER,
        )
      case 'expired':
        return end(handle, raw, { status: 'expired', error: outcome.error, message: outcome.message })
      case 'denied':
      case 'refused':
      case 'unusable':
        return end(handle, raw, { status: 'error', error: outcome.error, message: outcome.message })
      case 'misconfigured':
        if (outcome.error)
          return end(handle, raw, {
            status: 'error',
            error: outcome.error,
            message: `${outcome.message} ${outcome.hint}`,
          })
        break
      case 'not_now':
        return postpone(
          handle,
          found,
          Math.max(login.interval, Math.min(outcome.retryAfter, LONGEST_PAUSE)),
          outcome.message,
        )
    }
    const failures = open.get(handle)?.failures ?? 0
    return postpone(handle, found, Math.min(login.interval * 2 ** failures, LONGEST_PAUSE), outcome.message)
  }

  /** Puts the next poll off; undefined: another instance has taken this login over, and what it has written stands. */
  async function postpone(
    handle: string,
    { login, raw }: Found<DeviceLogin>,
    pause: number,
    trouble?: string,
  ): Promise<Found<DeviceLogin> | undefined> {
    const nextPollAt = clock.wall() + pause
    const failures = open.get(handle)?.failures ?? 0
    open.set(handle, { nextPollAt: wakeAt(login, nextPollAt), failures: trouble ? failures + 1 : failures, trouble })
    const next = { ...login, next_poll_at: iso(nextPollAt) }
    try {
      return { login: next, raw: await pending.write(handle, next, raw) }
    } catch (error) {
      if (isStorageError(error, 'conflict')) return undefined
      throw error
    }
  }

  async function end(handle: string, raw: string, ending: LoginEnd): Promise<void> {
    open.delete(handle)
    let isOurs = true // and is noted, where the store does not say
    try {
      isOurs = (await pending.end(handle, ending, raw)) !== undefined
    } finally {
      if (isOurs) journal.add('sign_in', ending.error ?? ending.status, ending.message)
    }
  }

  async function pollWhatIsDue(): Promise<void> {
    for (const [handle, { nextPollAt }] of open) {
      if (closing) return
      if (clock.wall() >= nextPollAt || nextPollAt - clock.wall() > LONGEST_PAUSE + SLOWER) await advance(handle)
    }
    await pending.removeOld()
  }

  return {
    async start() {
      for (const { handle, login } of await pending.readAll()) if (login.kind === 'device') watch(handle, login)
    },

    begin() {
      const turn = beginning.then(begin)
      beginning = turn.catch(() => {})
      return turn
    },

    async state(handle) {
      const login = /^[0-9a-f]{32}$/.test(handle) ? (await pending.read(handle))?.login : undefined
      if (!login || login.kind === 'browser') {
        throw new KeeperError('not_found', 'This sign-in is not known, or ended more than 10 minutes ago.', {
          hint: 'Start a new one.',
        })
      }
      if (login.kind === 'ended') return { status: login.status, message: login.message, error: login.error }
      // The tick that ends it may have to wait for a dead instance's lease.
      if (clock.wall() >= Date.parse(login.expires_at)) return { status: 'expired', message: 'The code has run out.' }
      watch(handle, login)
      const trouble = open.get(handle)?.trouble
      return {
        status: 'pending',
        message: trouble
          ? `Waiting for you to enter the code. ${trouble} Still trying.`
          : 'Waiting for you to enter the code.',
      }
    },

    async newest() {
      const logins = (await openOnes()).sort((a, b) => Date.parse(b.login.began_at) - Date.parse(a.login.began_at))
      return logins[0]
    },

    tick() {
      const turn = pollWhatIsDue()
      polling = turn.catch(() => {})
      return turn
    },

    nextDue() {
      if (closing) return undefined
      const next = Math.min(pending.nextRemoval(), ...Array.from(open.values(), ({ nextPollAt }) => nextPollAt))
      return Number.isFinite(next) ? next : undefined
    },

    async close() {
      closing = true
      await Promise.all([beginning, polling])
    },
  }
}

/** The end of a code is not slept through, however rarely Yoto may be asked. */
function wakeAt(login: DeviceLogin, nextPollAt: number): number {
  return Math.min(nextPollAt, Date.parse(login.expires_at))
}
