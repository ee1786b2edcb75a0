import { isKeyMissing } from '../access/access'
import type { Config } from '../config'
import type { Keeper } from '../keeper/keeper'

/** What `GET /api/ready` says. Being signed out is no reason. */
export function readinessOf(config: Config, keeper: Keeper): { ready: true } | { ready: false; reason: string } {
  const { notSaved, storage } = keeper.snapshot()
  if (!config.clientId || isKeyMissing(config)) return { ready: false, reason: 'not_configured' }
  if (notSaved) return { ready: false, reason: 'not_saved' }
  if (storage) return { ready: false, reason: 'storage_unavailable' }
  return { ready: true }
}
