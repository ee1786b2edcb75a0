import durableFiles, { removeLeftovers } from './drivers/durable-files'
import type { Backend, BackendOptions } from './index'
import { heartbeatFile } from './leases/heartbeat-file'

/** Durable files in one folder: a Railway volume, a disk of one's own, the working directory. */
export function openFiles({ dir, leasedKeys }: Pick<BackendOptions, 'dir' | 'leasedKeys'>): Backend {
  return {
    driver: durableFiles({ dir }),
    lease: (name) => heartbeatFile(dir, `.yoto_${name}_lease`),
    place: dir,
    watchInterval: 500,
    removeLeftovers: () => removeLeftovers(dir, leasedKeys),
  }
}
