import { $DurableObject as NitroObject } from 'nitropack/presets/cloudflare/runtime/cloudflare-durable'
import { useNitroApp } from 'nitropack/runtime'

export { default } from 'nitropack/presets/cloudflare/runtime/cloudflare-durable'

/**
 * In place of Nitro's, which does not wait for its alarm hook: an object whose alarm has returned may be put away, and with it a refresh
 * that is under way. The name is the one that Nitro's Worker looks for.
 */
export class $DurableObject extends NitroObject {
  override async alarm(): Promise<void> {
    await useNitroApp().hooks.callHook('cloudflare:durable:alarm', this)
  }
}
