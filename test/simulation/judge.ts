import type { SimulatedProcess } from './process'
import type { Family, Refresh, RefreshToken } from './yoto'

/** Something that decides who is to be signed in afterwards. `wanted`: the family, or null for nobody. */
export interface Act {
  what: string
  wanted: Family | null
  by?: SimulatedProcess
  begunAt: number
  /** `done` and durable at `endedAt`; `open` until then; `uncertain` where it may or may not have come about, for good. */
  state: 'open' | 'done' | 'uncertain'
  endedAt: number
}

/** Milliseconds: a holder that has been silent for longer may have lost its lease; the last beat may be a second old. */
const LEASE_LASTS = 4_000

/** Knows what has really happened, and says what must not have. */
export class Judge {
  readonly violations: string[] = []
  /** What nobody could have prevented, by reason. */
  readonly forced: Record<string, number> = {}
  readonly acts: Act[] = []
  readonly revocations: string[] = []
  /** When the store has lost what it had confirmed, or a lease with it. */
  rolledBackAt = Number.NEGATIVE_INFINITY
  leaseLostAt = Number.NEGATIVE_INFINITY
  emptiedAt = Number.NEGATIVE_INFINITY
  /** Since when the store cannot be reached, and when it was back. */
  storeAwaySince?: number
  storeBackAt = Number.NEGATIVE_INFINITY
  storeWasAwayFor = 0
  /** Refresh tokens that have been seen in the store. */
  readonly stored = new Set<string>()
  /** When a refresh token was last put there by hand. */
  readonly byHand = new Map<string, number>()

  constructor(private readonly now: () => number) {}

  violate(what: string): void {
    this.violations.push(`${seconds(this.now())} ${what}`)
  }

  // --- who is to be signed in ----------------------------------------------------------------------------------------

  begin(what: string, wanted: Family | null, by?: SimulatedProcess): Act {
    const act: Act = { what, wanted, by, begunAt: this.now(), state: 'open', endedAt: Number.POSITIVE_INFINITY }
    this.acts.push(act)
    return act
  }

  end(act: Act, state: 'done' | 'uncertain'): void {
    if (act.state !== 'open') return
    act.state = state
    act.endedAt = this.now()
  }

  /** The store was emptied: whoever has not seen the last of these yet may save again what was before. */
  emptied(notice: number): void {
    this.emptiedAt = this.now()
    this.doubt(notice)
    this.end(this.begin('emptied', null), 'uncertain') // with nobody there who holds it, it is lost
  }

  /** The store has lost the last second of what it had confirmed. */
  rolledBack(): void {
    this.rolledBackAt = this.now()
    this.doubt(2_000)
  }

  private doubt(since: number): void {
    for (const act of this.acts) {
      if (act.state === 'done' && act.endedAt > this.now() - since) act.state = 'uncertain'
    }
  }

  /** Another store was put in the place of ours, or ours is back: what was said of the one does not hold for the other. */
  wasOther(): void {
    this.emptied(Number.POSITIVE_INFINITY)
    this.rolledBackAt = this.now()
  }

  /** What went on in a process that is no more may have come about or not. */
  died(process: SimulatedProcess): void {
    for (const act of this.acts) if (act.by === process) this.end(act, 'uncertain')
  }

  /** Whoever may be signed in by now: everything that was not certainly followed by something else. */
  wanted(): Set<Family | null> {
    const isOver = (act: Act) =>
      this.acts.some((later) => later.state === 'done' && later !== act && later.begunAt >= act.endedAt)
    const outcomes = new Set(this.acts.filter((act) => !isOver(act)).map(({ wanted }) => wanted))
    if (!this.acts.some(({ state }) => state === 'done')) outcomes.add(null)
    return outcomes
  }

  /** When the last of these began or ended. */
  lastActAt(): number {
    return Math.max(
      0,
      ...this.acts.map(({ begunAt, endedAt }) =>
        endedAt === Number.POSITIVE_INFINITY ? this.now() : Math.max(begunAt, endedAt),
      ),
    )
  }

  // --- what happens at Yoto ------------------------------------------------------------------------------------------

  onRotated(_token: RefreshToken): void {}

  /** A token came back that had been replaced: why that could not be helped, or a violation. */
  onReuse(token: RefreshToken, refresh: Refresh): string {
    const reason = this.whyForced(token, refresh)
    if (!reason) {
      this.violate(`${refresh.sender.name} sent ${token.value}, which had been replaced`)
      return 'our own fault'
    }
    return this.force(reason)
  }

  private force(reason: string): string {
    this.forced[reason] = (this.forced[reason] ?? 0) + 1
    return `forced: ${reason}`
  }

  /** Whether a family's end is nobody's fault. */
  isForced({ endedBy }: Family): boolean {
    if (endedBy?.startsWith('forced')) return true
    // A sign-out that an emptied store has forgotten: who had not heard of it has saved the sign-in again.
    return endedBy === 'revoked' && this.emptiedAt > Number.NEGATIVE_INFINITY && this.wanted().has(null)
  }

  private whyForced({ replaced, value }: RefreshToken, again: Refresh): string | undefined {
    if (!replaced) return undefined
    const { by: first, next, at } = replaced
    if (again.sentAt <= at) {
      // Two on their way at once: whoever sent the later one must have had a reason.
      const [early, late] = first.sentAt <= again.sentAt ? [first, again] : [again, first]
      if (early.heard === 'nothing' || !early.sender.isAlive) return 'the answer came too late'
      if (isStale(late) || hasStoodStill(early.sender, early.sentAt)) return 'stopped between check and send'
      if (this.leaseLostAt > early.sentAt - 1_000) return 'the lease was lost in a failover'
      if (this.wasAwaySince(early.sentAt)) return 'the store and its lease were away'
      return undefined
    }
    if (this.emptiedAt >= at) return 'the store was emptied before all had seen the renewal'
    if (this.rolledBackAt >= at) return 'the store lost what it had confirmed'
    if ((this.byHand.get(value) ?? -1) >= at) return 'an old token was put there by hand'
    if (first.heard === 'nothing') return 'the answer was lost'
    if (!first.sender.isAlive && (first.heard !== 'answer' || !this.stored.has(next.value))) {
      return 'died before the answer was saved'
    }
    if (isStale(again)) return 'stopped between check and send'
    if (hasStoodStill(first.sender, at)) return 'stopped before the answer was saved'
    if (this.leaseLostAt > first.sentAt - 1_000) return 'the lease was lost in a failover'
    return undefined
  }

  private wasAwaySince(time: number): boolean {
    return this.storeAwaySince !== undefined || this.storeBackAt > time
  }

  /** @param stored what lay in the store when the revocation was sent: of that everybody can know */
  onRevoked(family: Family, asked: Family, by: SimulatedProcess, stored: Family | undefined): string {
    // Of a sign-in that is only on its way nobody can know.
    if (
      family !== asked &&
      family !== stored &&
      this.acts.some((act) => act.wanted === family && act.endedAt > this.now() - 1_000)
    ) {
      return this.force('the grant was deleted while another sign-in was under way')
    }
    const wanted = this.wanted()
    if (wanted.size === 1 && wanted.has(family)) {
      this.violate(
        `${by.name} revoked ${asked.name}${asked === family ? '' : `, and with it ${family.name}`}, which is to be signed in`,
      )
    }
    return 'revoked'
  }
}

/** What the sender knew was older than a lease lasts. */
function isStale({ sentAt, knewAsOf }: Refresh): boolean {
  return sentAt - knewAsOf > LEASE_LASTS
}

function hasStoodStill(process: SimulatedProcess, since: number): boolean {
  return process.wentOnAt > since || process.isStopped
}

export function seconds(time: number): string {
  return (time / 1000).toFixed(3)
}
