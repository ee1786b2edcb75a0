import { folderChecks } from './checks/folder'
import { writable } from './checks/writable'
import type { Backend, BackendOptions } from './index'
import { heartbeatFile } from './leases/heartbeat-file'
import { durableFiles, removeLeftovers } from './stores/durable-files'

/** Durable files in one folder: a Railway volume, a disk of one's own, the working directory. */
export function openFiles(options: Pick<BackendOptions, 'dir' | 'needsVolume' | 'leasedKeys'>): Backend {
  const { dir, leasedKeys } = options
  const store = durableFiles(dir)
  return {
    store,
    lease: (name) => heartbeatFile(dir, `.yoto_${name}_lease`),
    place: dir,
    watchInterval: 500,
    removeLeftovers: () => removeLeftovers(dir, leasedKeys),
    checks: [writable(store, dir), ...folderChecks(options)],
  }
}
