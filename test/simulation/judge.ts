import type { TokenRecord } from '../../server/keeper/records'
import type { SimulatedProcess } from './process'
import type { AccessToken, Family, Refresh, RefreshToken, YotoFault } from './yoto'

/** Something that decides who is to be signed in afterwards. `wanted`: the family, or null for nobody. */
export interface Act {
  what: string
  wanted: Family | null
  /** Undefined: by hand, in the store itself. */
  by?: SimulatedProcess
  begunAt: number
  /** `done` and durable at `endedAt`; `open` until then; `uncertain` where it may or may not have come about, for good. */
  state: 'open' | 'done' | 'uncertain'
  endedAt: number
  /** It was reported as not saved: what somebody begins later comes after it (rule 8); of what is done by hand nobody can tell. */
  heldAt?: number
  /** A sign-out that could not be noted in the store yet: of it nobody else can know. */
  isUnnoted?: boolean
}

/** What the store holds. */
export interface Stored {
  token(): string | null
  record(): TokenRecord | undefined
}

/** What an instance has said to somebody, and when it was asked. */
export interface Said {
  process: SimulatedProcess
  since: number
  /** It has said that what it holds is not saved. */
  isUnsaved: boolean
}

/** Milliseconds for which a pause may go on after the last fault (server/keeper/trouble.ts), and a little. */
const LONGEST_PAUSE = 330_000
/** Milliseconds within which every process has heard of what was done elsewhere: 60 s (rule 10), and time to be busy. */
const NOTICE = 120_000

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
  isFull = false
  /** When it last began or ceased to be away, full, or untrue. */
  storeTouchedAt = Number.NEGATIVE_INFINITY
  /** Milliseconds within which every process has seen what another has done, and acts on it. */
  noticesWithin = 0
  /** Refresh tokens that have been seen in the store. */
  readonly wasStored = new Set<string>()
  /** When a refresh token was last put there by hand. */
  readonly byHand = new Map<string, number>()

  /** When anything went wrong last, and anything but Yoto. */
  disturbedAt = Number.NEGATIVE_INFINITY
  private brokenAt = Number.NEGATIVE_INFINITY
  private readonly lastSends = new Map<Family, { refresh: Refresh; fault?: YotoFault; failures: number }>()
  private readonly seen = new Set<string>()

  /** @param stored what lies in the store now */
  constructor(
    private readonly now: () => number,
    private readonly stored: Stored,
  ) {}

  /** Something goes wrong, or goes on going wrong. */
  disturb(by: 'yoto' | 'something else' = 'something else'): void {
    this.disturbedAt = this.now()
    if (by !== 'yoto') this.brokenAt = this.now()
  }

  /** The same mistake of the same process is said once. */
  private violateOnce(process: SimulatedProcess, what: string): void {
    const words = `${process.name} ${what}`
    if (!this.seen.has(words)) this.violate(words)
    this.seen.add(words)
  }

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

  /**
   * Whoever may be signed in: everything that was not certainly followed by something else.
   * @param asOf what has ended since then need not be known yet
   * @param byHandAsOf the same for what was done in the store itself
   */
  wanted(asOf = this.now(), byHandAsOf = asOf): Set<Family | null> {
    const isOver = (act: Act) =>
      this.acts.some(
        (later) =>
          later.state === 'done' &&
          later !== act &&
          later.begunAt >= ((later.by && !later.isUnnoted && act.heldAt) || act.endedAt) &&
          later.endedAt <= (later.by ? asOf : byHandAsOf),
      )
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

  /** Rules 3, 5 and 7: what must be so right before a request leaves. */
  onSend(token: RefreshToken, refresh: Refresh, fault: YotoFault | undefined): void {
    const { sender } = refresh
    const violate = (what: string) => this.violateOnce(sender, `sent ${token.value} ${what}`)
    if (sender.checkedAt !== this.now()) violate('without having checked its lease')
    if (token.refusedTo.has(sender)) violate('though it had heard that it is refused')
    const record = this.stored.record()
    if (!isStale(refresh) && !this.isOtherStore()) {
      if (record?.intent?.fingerprint !== token.fingerprint) violate('without an intent')
      if (record?.refusals?.some(({ fingerprint }) => fingerprint === token.fingerprint)) violate('noted as refused')
    }
    this.checkPause(token, refresh, fault)
    if (fault) this.disturb('yoto')
  }

  /** Rule 7: from a first failure on, 1 s, 2 s, 4 s … to 5 minutes; a success ends the story. */
  private checkPause({ family }: RefreshToken, refresh: Refresh, fault: YotoFault | undefined): void {
    const { sender, sentAt } = refresh
    const last = this.lastSends.get(family)
    const hasFailed = last !== undefined && last.refresh.heard === 'nothing'
    const failures = hasFailed ? last.failures + 1 : 0
    this.lastSends.set(family, { refresh, fault, failures })
    if (!hasFailed || last.refresh.sender !== sender || !sender.runsByItself) return
    const isTold = last.fault === '429' || last.fault === '503 with Retry-After' || last.fault === 'invalid_client'
    if (isTold || this.brokenAt >= last.refresh.sentAt || this.lastActAt() >= last.refresh.sentAt) return
    const pause = sentAt - last.refresh.sentAt
    const longest = Math.min(1_000 * 2 ** failures, 300_000) + 30_000
    if (pause > longest) this.violateOnce(sender, `waited ${seconds(pause)} s after ${failures} failures in a row`)
  }

  /** What lies in the store now need not be what was written. */
  private isOtherStore(): boolean {
    return (
      this.wasAwaySince(this.now() - 10_000) ||
      this.isWithin(10_000, this.leaseLostAt, this.rolledBackAt, this.emptiedAt)
    )
  }

  /** @returns whether one of these was less than so many ms ago */
  private isWithin(duration: number, ...times: number[]): boolean {
    return this.now() - Math.max(...times) < duration
  }

  // --- what is said --------------------------------------------------------------------------------------------------

  /** A token was handed out. */
  onGiven({ process, isUnsaved }: Said, { of, family, expiresAt }: AccessToken, minTtl = 0): void {
    const { now } = this
    const left = expiresAt - now()
    const life = expiresAt - of.issuedAt
    const violate = (what: string) => this.violateOnce(process, `gave out a token of ${of.value} ${what}`)
    // What another store in the place of ours has taken is not seen here.
    const wasOther = this.storeAwaySince !== undefined || Math.max(this.emptiedAt, this.rolledBackAt) >= of.issuedAt
    if (!isUnsaved && !wasOther && !this.wasStored.has(of.value)) violate('that was not saved, and said nothing of it')
    const canHear = !this.wasAwaySince(now() - NOTICE) && now() - process.wentOnAt > NOTICE
    if (!isUnsaved && canHear && !this.wanted(now() - NOTICE).has(family)) violate('which is over')
    if (this.isWithin(LONGEST_PAUSE, this.disturbedAt)) return
    // Rule 1; what another instance has fetched since this one has looked is the answer to everybody (rule 4).
    const least = Math.max(Math.min(60_000, life * 0.1), Math.min(minTtl, life - NOTICE))
    if (left < least) violate(`with ${seconds(left)} s left of ${seconds(life)}`)
    // Rule 2, and the time that it takes.
    if (process.runsByItself && left < life * 0.25 - 15_000) violate('that should have been refreshed ahead')
  }

  /** Nobody is signed in, it said. */
  onNone({ process, since, isUnsaved }: Said, code: string): void {
    if (isUnsaved || process.wentOnAt >= since || this.wasAwaySince(since)) return
    // A token that was put there by hand is believed at the second look.
    if (this.acts.some(({ by, endedAt }) => !by && endedAt > since - NOTICE)) return
    const wanted = [...this.wanted(since)]
    const names = wanted.map((family) => family?.name ?? 'nobody').join(' or ')
    const isRight = code === 'signed_out' ? wanted.includes(null) : wanted.some((family) => family?.endedBy)
    if (!isRight) this.violateOnce(process, `said ${code} while ${names} is signed in`)
  }

  /** Another token lies in the store. */
  onStored(token: RefreshToken | undefined): void {
    if (!token) return
    this.wasStored.add(token.value)
    const held = this.acts.find(({ wanted, heldAt, state }) => wanted === token.family && heldAt && state === 'open')
    if (!held || this.isOtherStore()) return
    const isLater = ({ state, by, begunAt }: Act) =>
      state === 'done' && by && begunAt >= (held.heldAt ?? Number.POSITIVE_INFINITY)
    const later = this.acts.find(isLater)
    if (later?.isUnnoted) this.force('a sign-out that could not be noted was overtaken by a sign-in held elsewhere')
    else if (later) this.violate(`${held.what}, which was held, was saved over what came later: ${later.what}`)
  }

  /** The record has changed: what tells of the stored token is not to be replaced by what tells of another. */
  onRecord(
    process: SimulatedProcess,
    knewAsOf: number,
    stored: RefreshToken | undefined,
    before: TokenRecord | undefined,
    after: TokenRecord | undefined,
  ): void {
    if (!stored || !after || after.signed_out || this.now() - knewAsOf > LEASE_LASTS) return
    if (before?.fingerprint !== stored.fingerprint || after.fingerprint === stored.fingerprint) return
    if (this.isOtherStore() || process.wentOnAt >= process.checkedAt) return
    this.violateOnce(process, `wrote over the record of ${stored.value}, which is stored`)
  }

  /** A sign-out is reported as done. */
  onSignedOut({ process, since }: Said, find: (token: string) => RefreshToken | undefined): void {
    if (this.wasAwaySince(since)) return
    const stored = this.stored.token()?.trim()
    const family = stored === undefined ? undefined : find(stored)?.family
    const isOld = family && this.acts.every(({ wanted, endedAt }) => wanted !== family || endedAt < since)
    if (isOld && this.emptiedAt < since) this.violateOnce(process, `has signed out, and ${stored} is still stored`)
  }

  /** A token came back that had been replaced: why that could not be helped, or a violation. */
  onReuse(token: RefreshToken, refresh: Refresh, leeway: number): string {
    this.checkRepeated(token, refresh, leeway)
    const reason = this.whyForced(token, refresh)
    if (!reason) {
      this.violate(`${refresh.sender.name} sent ${token.value}, which had been replaced`)
      return 'our own fault'
    }
    return this.force(reason)
  }

  /** Rule 5: what may have been lost is repeated at once, while a leeway may be open. */
  private checkRepeated({ value, replaced }: RefreshToken, { sender }: Refresh, leeway: number): void {
    if (!replaced || !sender.runsByItself || leeway < this.noticesWithin) return
    const isUndisturbed =
      Math.max(this.storeTouchedAt, sender.bornAt, sender.wentOnAt, this.lastActAt()) < replaced.at + 1_000
    if (isUndisturbed && replaced.by.heard !== 'answer') {
      this.violateOnce(sender, `sent ${value} again ${seconds(this.now() - replaced.at)} s after it may have been lost`)
    }
  }

  private force(reason: string): string {
    this.forced[reason] = (this.forced[reason] ?? 0) + 1
    return `forced: ${reason}`
  }

  /** Whether a family's end is nobody's fault. */
  isForced({ endedBy }: Family): boolean {
    if (endedBy?.startsWith('forced')) return true
    // A sign-out has revoked it, and could not end it in the store; or an emptied store has forgotten that it did.
    return endedBy === 'revoked' && this.wanted().has(null)
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
    if (!first.sender.isAlive && (first.heard !== 'answer' || !this.wasStored.has(next.value))) {
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

  /** @param when.stored what lay in the store when the revocation was sent: of that everybody can know */
  onRevoked(
    family: Family,
    asked: Family,
    by: SimulatedProcess,
    { stored, sentAt }: { stored?: Family; sentAt: number },
  ): string {
    // Of a sign-in that was not there yet, or only on its way, nobody could know.
    const isNew = ({ wanted, endedAt }: Act) => wanted === family && endedAt > sentAt - 1_000
    if (family !== asked && family !== stored && this.acts.some(isNew)) {
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
  return process.wentOnAt >= since || process.isStopped
}

export function seconds(time: number): string {
  return (time / 1000).toFixed(3)
}
