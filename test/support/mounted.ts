import { createStorage, prefixStorage } from 'unstorage'
import { type TokenStore, throughMount } from '../../storage'
import { asDriver } from '../../storage/unstorage'

/** A store as the service speaks it: through unstorage, mounted as `tokens`. */
export function mounted(store: TokenStore): TokenStore {
  return throughMount(prefixStorage(createStorage().mount('tokens', asDriver('under test', store)), 'tokens'))
}
