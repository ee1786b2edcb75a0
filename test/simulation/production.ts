// What a simulated process runs: the code that is deployed, unchanged. code.ts makes one script of it.

export { readConfig } from '../../server/config'
export { createKeeper, type Keeper } from '../../server/keeper/keeper'
export { broken, type State } from '../../server/keeper/state'
export { classify } from '../../server/yoto/outcome'
export { StorageError } from '../../storage/errors'
export { openFiles } from '../../storage/files'
export { waitBy } from '../../storage/leases/wait'
export { openRedis } from '../../storage/redis'
export { encrypted } from '../../storage/stores/encrypted'
