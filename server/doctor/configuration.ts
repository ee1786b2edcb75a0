import type { Check, Finding } from '../../storage'
import { isKeyMissing } from '../access/access'
import type { Config } from '../config'
import { notConfigured } from '../keeper/keeper'
import { isProcess, preset } from '../platform'

/** What is known without asking anybody: where this runs, and how it is set up. */
export function configurationChecks(config: Config, place: string): Check[] {
  return [
    { name: 'platform', look: async () => ({ ok: true, message: `${preset} on ${runtime()}; kept in ${place}.` }) },
    { name: 'client_id', look: async () => clientId(config) },
    { name: 'keeper_key', look: async () => keeperKey(config) },
    { name: 'public_url', look: async () => publicUrl(config) },
  ]
}

function clientId(config: Config): Finding {
  if (config.clientId) return { ok: true, message: 'YOTO_CLIENT_ID is set.' }
  const { message, hint } = notConfigured()
  return { ok: false, message, hint }
}

function keeperKey(config: Config): Finding {
  if (config.keeperKey) return { ok: true, message: 'KEEPER_KEY is set.' }
  if (!isKeyMissing(config)) return { ok: true, message: 'The key was made by this service and is kept with the rest.' }
  return {
    ok: false,
    message: 'No keeper key is set, and none can be made where files do not last: nobody gets in.',
    hint: 'Set KEEPER_KEY to a long random text: make one with `openssl rand -hex 32`.',
  }
}

/** Without one a browser gets in by a loopback name only (guard.ts): enough on one's own computer, and nowhere else. */
function publicUrl({ publicUrls, needsVolume }: Config): Finding {
  if (publicUrls.length > 0) return { ok: true, message: `Browsers get in at ${publicUrls.join(', ')}.` }
  if (isProcess && !needsVolume) {
    return { ok: true, message: 'Browsers get in on this machine only, at http://localhost; PUBLIC_URL is not set.' }
  }
  return {
    ok: false,
    message: 'The address people reach the service at is not known: browsers are turned away.',
    hint: 'Set PUBLIC_URL to it, such as https://keeper.example; on Railway `railway domain` makes one.',
  }
}

/** Workers, Bun and Deno also claim to be a Node. */
function runtime(): string {
  if (globalThis.navigator?.userAgent === 'Cloudflare-Workers') return 'workerd'
  const { bun, deno, node } = (globalThis.process?.versions ?? {}) as Record<string, string | undefined>
  if (bun) return `Bun ${bun}`
  if (deno) return `Deno ${deno}`
  return node ? `Node ${node}` : 'an unknown runtime'
}
