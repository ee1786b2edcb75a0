import type { Lease, TokenStore } from '../../storage'
import type { Config } from '../config'
import type { Yoto } from '../yoto/yoto'
import type { Clock } from './clock'
import type { Journal } from './journal'
import type { Moment } from './next'
import type { Memory, State } from './state'
import type { Turns } from './turn'

/** What a keeper is made of. */
export interface KeeperParts {
  config: Config
  store: TokenStore
  lease: Lease
  journal: Journal
  clock: Clock
  yoto: Yoto
  /** From 0 to 1, as Math.random. */
  random?(): number
  /** Milliseconds between two looks at the store while all is well. */
  watchInterval: number
  /** False: nothing runs between requests. What is begun is waited for then. */
  isUnattended?: boolean
  /** Removes what a crash left behind; called under the lease. */
  removeLeftovers(): Promise<void>
  /** For tests: sees every state of the keeper, and whether it was learnt in a turn. */
  observe?(state: State, isInTurn: boolean): void
}

/** What the files of this folder share. */
export interface Shared {
  parts: KeeperParts
  memory: Memory
  turns: Turns
  /** The present, for the questions of next.ts. */
  moment: Moment
}
