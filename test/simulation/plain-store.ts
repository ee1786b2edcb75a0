import type { TokenStore } from '../../storage'
import type { HeldLease, Lease } from '../../storage/lease'
import type { Code } from './code'
import type { SimulatedProcess } from './process'
import type { Scheduler } from './scheduler'

/** What can be wrong with a store. */
export interface StoreFaults {
  /** Nothing can be read or written, nor the lease be had. */
  away: boolean
  /** Nothing can be written. */
  full: boolean
  /** Of its answers to writes, how many say that the write has failed though it has taken effect. */
  lies: number
}

export const noFaults = (): StoreFaults => ({ away: false, full: false, lies: 0 })

/** A holder's lease is free for others when it has not beaten for so long, in milliseconds. */
const DEAD_AFTER = 5_000

/**
 * A store and its lease with the semantics that all of them have, and nothing else: the protocol alone is seen. What a world of it is told
 * to ignore are the simulator's mutants.
 */
export class PlainStore {
  readonly values = new Map<string, string>()
  readonly faults = noFaults()
  ignoresOnlyIf = false
  dropsIntents = false
  leaseAlwaysSaysYes = false
  leaseIsNotRenewed = false
  /** How what is written is shown in the trace. */
  words = (value: string) => (value.startsWith('{') ? value.replace(/\s+/g, ' ').slice(0, 300) : value)
  private holder?: { process: SimulatedProcess; id: number; since: number }
  private ids = 0

  constructor(
    private readonly scheduler: Scheduler,
    private readonly chance: (probability: number) => boolean,
  ) {}

  storeFor(process: SimulatedProcess, { StorageError }: Pick<Code, 'StorageError'>): TokenStore {
    const { values, faults } = this
    const requireThere = () => {
      if (faults.away) throw new StorageError('unavailable', 'the store is away')
    }
    const write = (key: string, value: string | null, onlyIf?: string | null) => {
      requireThere()
      const current = values.get(key) ?? null
      if (onlyIf !== undefined && !this.ignoresOnlyIf && current !== onlyIf && current !== value) {
        throw new StorageError('conflict', `${key} was ${current === null ? 'removed' : 'replaced'} meanwhile`)
      }
      if (faults.full && value !== null) throw new StorageError('unavailable', 'the store is full')
      if (value === null) values.delete(key)
      else values.set(key, this.dropsIntents ? withoutIntent(value) : value)
      if (this.chance(faults.lies)) throw new StorageError('unavailable', 'the answer of the store was lost')
    }
    return {
      read: (key) =>
        process.operation(`read ${key}`, () => {
          requireThere()
          return values.get(key) ?? null
        }),
      write: (key, value, onlyIf) =>
        process.operation(`write ${key} ${this.words(value)}${onlyIf === undefined ? '' : ` if ${onlyIf}`}`, () =>
          write(key, value, onlyIf),
        ),
      remove: (key) => process.operation(`remove ${key}`, () => write(key, null)),
      keys: () =>
        process.operation('keys', () => {
          requireThere()
          return [...values.keys()]
        }),
    }
  }

  /** Who holds the lease, beating or not. */
  get heldBy(): string | undefined {
    return this.holder?.process.name
  }

  leaseFor(process: SimulatedProcess, { StorageError, waitBy }: Pick<Code, 'StorageError' | 'waitBy'>): Lease {
    const requireThere = () => {
      if (this.faults.away) throw new StorageError('unavailable', 'the store is away')
    }
    const tryAcquire = () =>
      process.operation('lease take', () => {
        requireThere()
        if (!this.isFree()) return undefined
        const id = ++this.ids
        this.holder = { process, id, since: this.scheduler.now }
        return this.held(process, id, StorageError)
      })
    return { tryAcquire, acquire: waitBy(tryAcquire, 250) }
  }

  /** A failover to a replica that has not heard of it yet. */
  loseLease(): void {
    this.holder = undefined
  }

  /** Whose beats have not come for long enough: dead, standing still, or cut off. */
  private isFree(): boolean {
    if (!this.holder) return true
    const { process, since } = this.holder
    const silentSince = this.leaseIsNotRenewed ? since : process.isAlive ? process.stoppedAt : process.diedAt
    return silentSince !== undefined && this.scheduler.now - silentSince > DEAD_AFTER
  }

  private held(process: SimulatedProcess, id: number, StorageError: Code['StorageError']): HeldLease {
    return {
      check: () =>
        process.operation('lease check', () => {
          if (this.faults.away) throw new StorageError('unavailable', 'the store is away')
          if (this.holder?.id !== id && !this.leaseAlwaysSaysYes) {
            throw new StorageError('lease_lost', 'another instance has taken over')
          }
        }),
      release: () =>
        process.operation('lease release', () => {
          if (this.holder?.id === id) this.holder = undefined
        }),
    }
  }
}

function withoutIntent(value: string): string {
  return value.startsWith('{') ? JSON.stringify({ ...JSON.parse(value), intent: undefined }) : value
}
