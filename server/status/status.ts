import { renderSVG } from 'uqr'
import type { Config } from '../config'
import type { Keeper, Snapshot } from '../keeper/keeper'
import type { Lasting } from '../lasting'
import type { DeviceLogins } from '../logins/device'
import { isUnattended } from '../platform'
import { type Standing, standingOf } from './standing'

export interface Status extends Standing {
  login?: {
    device_code: string
    user_code: string
    verification_uri: string
    verification_uri_complete: string
    /** verification_uri_complete as a picture, in a data: address. */
    qr: string
    expires_at: string
    interval: number
  }
  expires_at?: string
  refresh_at?: string
  scope?: string
  account?: string
  /** A sign-in by code is finished, and the token renewed, though nobody asks. */
  unattended: boolean
  /** To be registered at yoto.dev for the sign-in in the browser. */
  redirect_uri?: string
  storage: { place: string; persistent: boolean; warning?: string }
}

interface StatusParts {
  config: Config
  place: string
  keeper: Keeper
  deviceLogins: DeviceLogins
  lasting: Lasting
}

/** What `GET /api/auth/status` says; `redirectUri` as the caller's browser would need it. */
export async function statusOf(
  { config, place, keeper, deviceLogins, lasting }: StatusParts,
  redirectUri?: string,
): Promise<Status> {
  const [warning] = await Promise.all([lasting.warning(), keeper.seek()])
  const login = await deviceLogins.newest().catch(() => undefined)
  const now = keeper.snapshot() // one moment for all that is said
  const { set, timeLeft, refreshAt } = now
  const live = set && timeLeft > 0 ? set : undefined
  return {
    ...standingOf(config, now, warning),
    login: login && {
      device_code: login.handle,
      user_code: login.login.user_code,
      verification_uri: login.login.verification_uri,
      verification_uri_complete: login.login.verification_uri_complete,
      qr: `data:image/svg+xml,${encodeURIComponent(renderSVG(login.login.verification_uri_complete))}`,
      expires_at: login.login.expires_at,
      interval: login.login.interval / 1000,
    },
    expires_at: live && new Date(live.expiresAt).toISOString(),
    refresh_at: live && new Date(refreshAt ?? live.expiresAt).toISOString(),
    scope: live?.scope,
    account: live?.subject,
    unattended: isUnattended,
    redirect_uri: redirectUri,
    storage: storageOf(place, now, warning),
  }
}

function storageOf(place: string, now: Snapshot, warning: string | undefined): Status['storage'] {
  const { unusable, notSaved, storage } = now
  const problem = unusable ?? notSaved ?? storage
  return {
    place,
    persistent: warning === undefined,
    warning: problem?.message ?? warning,
  }
}
