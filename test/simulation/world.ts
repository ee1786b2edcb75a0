import type { TokenRecord } from '../../server/keeper/records'
import type { IssuedTokens } from '../../server/yoto/outcome'
import type { HeldLease, Lease } from '../../storage'
import type { Code, Surroundings } from './code'
import type { Ground } from './ground'
import { type Act, Judge, type Said } from './judge'
import { SimulatedProcess } from './process'
import type { Random } from './random'
import { Scheduler } from './scheduler'
import { type Family, SimulatedYoto, type YotoOptions } from './yoto'

export interface WorldParts {
  code: (around: Surroundings) => Code
  random: Random
  yoto: YotoOptions
  areFunctions: boolean
  /** Hears of everything that happens. */
  onTrace?(who: string, what: string, time: number): void
}

/** Milliseconds within which every process has looked at the store, and has done what follows. */
const NOTICED = 70_000

type Keeper = ReturnType<Code['createKeeper']>
export type State = Parameters<Code['broken']>[0]

/** One process with a keeper in it. */
export interface Instance {
  process: SimulatedProcess
  keeper: Keeper
  /** What tools and people wait for. */
  calls: Set<{ what: string; since: number }>
  /** Sign-ins that have been reported as not saved. */
  unsaved: Set<Act>
  isClosing: boolean
  /** Nothing is asked of it before it has started (server/service.ts). */
  hasStarted: Promise<void>
}

/** Processes on one ground, Yoto, and virtual time. */
export class World {
  readonly scheduler = new Scheduler()
  readonly judge = new Judge(() => this.scheduler.now, {
    token: () => this.ground.token(),
    record: () => this.record(),
  })
  readonly yoto: SimulatedYoto
  readonly instances: Instance[] = []
  /** Milliseconds that a part of an operation takes. */
  latency: () => number = () => this.parts.random.between(0.1, 4)
  /** Milliseconds between two ticks. */
  tickPause: () => number = () => this.parts.random.between(250, 2_500)
  /** Nothing is being broken any more, since then. */
  calmSince = Number.POSITIVE_INFINITY
  clockHasJumped = false
  tokensGiven = 0
  /** Who has just taken the lease. */
  onLease: (process: SimulatedProcess) => void = () => {}
  /** Sees every state of every keeper. */
  onState: (process: SimulatedProcess, state: State) => void = () => {}
  private started = 0
  private lastToken?: string
  private lastRecord: { raw: string | null; record?: TokenRecord } = { raw: null }

  constructor(
    readonly parts: WorldParts,
    makeGround: (scheduler: Scheduler, random: Random) => Ground,
  ) {
    this.ground = makeGround(this.scheduler, parts.random)
    this.yoto = new SimulatedYoto(parts.yoto, this.scheduler, parts.random, this.judge, (who, what) =>
      this.trace(who, what),
    )
    this.yoto.storedToken = () => this.ground.token()?.trim()
  }
  readonly ground: Ground

  trace(who: string, what: string): void {
    this.parts.onTrace?.(who, what, this.scheduler.now)
  }

  private record(): TokenRecord | undefined {
    try {
      return JSON.parse(this.ground.record() ?? '') ?? undefined
    } catch {
      return undefined // none, or torn
    }
  }

  async runFor(duration: number): Promise<void> {
    await this.scheduler.runUntil(this.scheduler.now + duration)
  }

  // --- processes -----------------------------------------------------------------------------------------------------

  start(name = `p${++this.started}`): Instance {
    const { random, code, areFunctions } = this.parts
    const process = new SimulatedProcess({
      name,
      scheduler: this.scheduler,
      random,
      latency: () => this.latency(),
      trace: (who, what) => this.trace(who, what),
      onEffect: (knewAsOf) => {
        this.noteStored()
        this.noteRecord(process, knewAsOf)
      },
      runsByItself: !areFunctions,
    })
    const lib = code(process.surroundings(this.ground.modules(process)))
    const { store, lease, watchInterval, removeLeftovers } = this.ground.open(process, lib)
    this.judge.noticesWithin = watchInterval + 25_000
    const config = lib.readConfig({ YOTO_CLIENT_ID: 'client' }, '/')
    const journal = { add: (kind: string, outcome: string) => this.trace(name, `note ${kind} ${outcome}`) }
    const keeper = lib.createKeeper({
      config,
      store,
      lease: watched(lease, {
        taken: () => this.onLease(process),
        checked: () => {
          process.checkedAt = this.scheduler.now
        },
      }),
      journal: { ...silentJournal, ...journal },
      clock: { wall: () => process.wall(), monotonic: () => process.monotonic() },
      yoto: {
        refresh: async (token) => {
          this.checkYoung(instance, token)
          return lib.classify(await this.yoto.refresh(process, token), process.wall())
        },
        revoke: (token) => this.yoto.revoke(process, token),
      },
      random: random.next,
      watchInterval,
      isUnattended: !areFunctions,
      removeLeftovers,
      observe: (state, isInTurn) => {
        const what = lib.broken(state)
        if (what) this.judge.violate(`${name}: ${what}`)
        if (!isInTurn) this.judge.violate(`${name} changed its state out of turn`)
        this.onState(process, state)
      },
    })
    this.trace(name, 'starts')
    const hasStarted = keeper.start()
    const instance: Instance = { process, keeper, calls: new Set(), unsaved: new Set(), isClosing: false, hasStarted }
    this.instances.push(instance)
    void this.call(instance, 'start', () => hasStarted).then(() => {
      if (!areFunctions) this.tickOn(instance)
    })
    return instance
  }

  private tickOn(instance: Instance): void {
    this.scheduler.after(this.tickPause(), () =>
      instance.process.deliver(() => {
        if (instance.isClosing) return
        const next = () => this.tickOn(instance)
        instance.keeper.tick().then(next, (error) => {
          this.judge.violate(`${instance.process.name} tick threw ${error}`)
          next()
        })
      }),
    )
  }

  crash(instance: Instance): void {
    this.judge.disturb()
    this.trace(instance.process.name, 'crashes')
    this.noteStored()
    instance.process.crash()
    this.remove(instance)
  }

  /** SIGTERM: 10 seconds to end what is under way. */
  end(instance: Instance): void {
    this.judge.disturb()
    this.trace(instance.process.name, 'is to end')
    instance.isClosing = true
    instance.process.deliver(() => {
      const gone = () => {
        if (!instance.process.isAlive) return
        this.trace(instance.process.name, 'ends')
        this.noteStored()
        instance.process.crash()
        this.remove(instance)
      }
      instance.keeper.close().then(gone, gone)
      this.scheduler.after(10_000, gone)
    })
  }

  private remove(instance: Instance): void {
    this.judge.died(instance.process)
    this.ground.leave?.(instance.process)
    this.instances.splice(this.instances.indexOf(instance), 1)
  }

  // --- what is asked of them -----------------------------------------------------------------------------------------

  private call<T>(instance: Instance, what: string, work: () => Promise<T>): Promise<T> {
    const call = { what, since: this.scheduler.now }
    instance.calls.add(call)
    return instance.hasStarted.then(work).finally(() => instance.calls.delete(call))
  }

  /** Where nothing runs between requests, what has come due is done before each of them (server/front/catch-up.ts). */
  private async catchUp({ keeper }: Instance): Promise<void> {
    if (this.parts.areFunctions) await keeper.tick()
  }

  /** A tool asks for a token. @returns the family that it is of, or the code of the error */
  async askForToken(instance: Instance, minTtl?: number): Promise<Family | string> {
    const since = this.scheduler.now
    const said = (): Said => ({ process: instance.process, since, isUnsaved: !!instance.keeper.snapshot().notSaved })
    try {
      const access = await this.call(instance, 'token', async () => {
        await this.catchUp(instance)
        return instance.keeper.accessToken(minTtl)
      })
      this.tokensGiven++
      return this.checkToken(said(), access.accessToken, minTtl)
    } catch (error) {
      const code = this.codeOf(instance, 'token', error)
      if (code === 'signed_out' || code === 'needs_sign_in') this.judge.onNone(said(), code)
      return code
    }
  }

  private checkToken(said: Said, accessToken: string, minTtl: number | undefined): Family | string {
    const { process } = said
    const token = this.yoto.access(accessToken)
    if (!token) {
      this.judge.violate(`${process.name} gave out a token that Yoto never issued`)
      return 'unknown'
    }
    const { now } = this.scheduler
    this.trace(process.name, `gives a token of ${token.of.value}`)
    // Rule 12: of a token that it has asked for itself, the monotonic clock tells the age.
    const canTell = !this.clockHasJumped || (token.to === process && !process.hasSlept)
    if (canTell && now >= token.expiresAt) this.judge.violate(`${process.name} gave out a token that had run out`)
    if (!this.clockHasJumped) this.judge.onGiven(said, token, minTtl)
    return token.family
  }

  /** A tool's token was refused by Yoto's API. */
  async renew(instance: Instance, accessToken = instance.keeper.snapshot().set?.accessToken): Promise<void> {
    if (!accessToken) return
    try {
      const access = await this.call(instance, 'renew', async () => {
        await this.catchUp(instance)
        return instance.keeper.renew({ accessToken })
      })
      const token = access && this.yoto.access(access.accessToken)
      this.trace(instance.process.name, token ? `gives another token, of ${token.of.value}` : 'has no other token')
    } catch (error) {
      this.codeOf(instance, 'renew', error)
    }
  }

  async refreshNow(instance: Instance): Promise<void> {
    await this.call(instance, 'refresh', async () => {
      await this.catchUp(instance)
      return instance.keeper.refreshNow()
    }).catch((error) => this.codeOf(instance, 'refresh', error))
  }

  /** Somebody has signed in at Yoto, and the answer is on its way to that process. */
  signIn(instance: Instance, user: string): void {
    const { family, body } = this.yoto.issue(user)
    const { process, keeper } = instance
    const act = this.judge.begin(`sign in ${family.name}`, family, process)
    this.trace(process.name, `somebody signs in: ${family.name} of ${user}`)
    const tokens: IssuedTokens = {
      accessToken: body.access_token,
      refreshToken: body.refresh_token,
      expiresIn: body.expires_in * 1000,
    }
    const sent = { wall: process.wall(), monotonic: process.monotonic() }
    this.scheduler.after(this.yoto.way(), () =>
      process.deliver(() => {
        void this.call(instance, 'sign in', () => keeper.signIn(tokens, sent)).then(
          () => {
            if (keeper.snapshot().notSaved) {
              instance.unsaved.add(act)
              act.heldAt = this.scheduler.now
            } else this.judge.end(act, 'done')
            this.trace(process.name, `has signed in ${family.name}`)
          },
          (error) => {
            this.codeOf(instance, 'sign in', error)
            this.judge.end(act, 'uncertain')
          },
        )
      }),
    )
  }

  async signOut(instance: Instance): Promise<void> {
    const { process } = instance
    const act = this.judge.begin('sign out', null, process)
    const before = this.record()?.signed_out?.at
    this.trace(process.name, 'somebody signs out')
    try {
      await this.call(instance, 'sign out', async () => {
        await this.catchUp(instance)
        return instance.keeper.signOut()
      })
      this.judge.end(act, 'done')
      const noted = this.record()?.signed_out?.at
      act.isUnnoted = !noted || noted === before
      this.trace(process.name, 'has signed out')
      this.judge.onSignedOut({ process, since: act.begunAt, isUnsaved: false }, (token) => this.yoto.find(token))
    } catch (error) {
      this.codeOf(instance, 'sign out', error)
      this.judge.end(act, 'uncertain')
    }
  }

  /** Every failure is a typed error. */
  private codeOf({ process }: Instance, what: string, error: unknown): string {
    const { name, code, message } = error as { name: string; code?: string; message: string }
    const isStorage = name === 'StorageError' && what === 'sign out' // DESIGN's shape is made of it by the route
    if (name !== 'KeeperError' && !isStorage)
      this.judge.violate(`${process.name} ${what} threw ${name} ${code ?? ''} ${message}`)
    this.trace(process.name, `cannot ${what}: ${code ?? message}`)
    return code ?? message
  }

  /** By hand: the token of another sign-in, or of the same with other white space around it. */
  putByHand(value: string, family: Family): void {
    const act = this.judge.begin(`put ${value.trim()} by hand`, family)
    this.trace('somebody', `puts ${JSON.stringify(value)} in place`)
    this.ground.putToken(value)
    this.judge.byHand.set(value.trim(), this.scheduler.now)
    this.judge.end(act, 'done')
  }

  /** What is no token in the token's place. */
  putGarbage(): void {
    const nothing: Family = { name: 'what is no token', user: '', tokens: [], endedBy: 'forced: it is no token' }
    const act = this.judge.begin('put what is no token by hand', nothing)
    this.trace('somebody', 'empties the token file')
    this.ground.putToken('')
    this.judge.end(act, 'done')
  }

  removeByHand(): void {
    const act = this.judge.begin('remove by hand', null)
    this.trace('somebody', 'removes the token')
    // Without a record beside it nobody can tell a removal from a lost store (rule 10).
    const hadRecord = this.ground.record() !== null
    this.ground.removeToken()
    this.judge.end(act, hadRecord ? 'done' : 'uncertain')
  }

  // --- what happens to the store ---------------------------------------------------------------------------------------

  setAway(away: boolean): void {
    const { judge, scheduler } = this
    this.trace('store', away ? 'is away' : 'is back')
    judge.storeTouchedAt = scheduler.now
    if (this.ground.setAway(away)) judge.wasOther()
    if (away) judge.storeAwaySince ??= scheduler.now
    else {
      judge.storeAwaySince = undefined
      judge.storeBackAt = scheduler.now
    }
  }

  /** @param notice milliseconds within which everybody has seen what was done before */
  emptyStore(notice: number): void {
    this.trace('store', 'is emptied')
    this.noteStored()
    this.ground.empty()
    this.checkSavedAgain()
    const isAnyoneBehind = this.instances.some(({ process }) => process.isStopped)
    this.judge.emptied(isAnyoneBehind ? Number.POSITIVE_INFINITY : notice)
  }

  /** Rule 10: who holds the sign-in saves it again, unless something else happens. */
  private checkSavedAgain(): void {
    const { judge, scheduler } = this
    const { now: since } = scheduler
    const isHeld = this.instances.some(({ process, keeper, isClosing }) => {
      const { set, timeLeft } = keeper.snapshot()
      return process.runsByItself && !process.isStopped && !isClosing && !!set && timeLeft > NOTICED
    })
    if (!isHeld || judge.storeAwaySince !== undefined || judge.isFull || judge.lastActAt() > since - NOTICED) return
    scheduler.after(NOTICED, () => {
      const isUndisturbed = judge.disturbedAt <= since && judge.lastActAt() <= since
      if (isUndisturbed && !this.ground.token()) judge.violate('what was held was not saved again')
    })
  }

  /** @param probability of a write to be reported failed though it has reached the store */
  setLies(probability: number): void {
    this.judge.storeTouchedAt = this.scheduler.now
    this.ground.setLies(probability)
  }

  setFull(isFull: boolean): void {
    this.trace('store', isFull ? 'is full' : 'has room')
    this.judge.isFull = isFull
    this.judge.storeTouchedAt = this.scheduler.now
    this.ground.setFull(isFull)
  }

  // --- watching ------------------------------------------------------------------------------------------------------

  /** To be called before anything is taken away: what has been stored is known. */
  noteStored(): void {
    const token = this.ground.token()?.trim()
    if (!token || token === this.lastToken) return
    this.lastToken = token
    this.judge.onStored(this.yoto.find(token))
  }

  /** What lies beside the token, if it has changed. */
  private noteRecord(process: SimulatedProcess, knewAsOf: number): void {
    const raw = this.ground.record()
    if (raw === this.lastRecord.raw) return
    const record = this.record()
    const token = this.ground.token()?.trim()
    const stored = token === undefined ? undefined : this.yoto.find(token)
    this.judge.onRecord(process, knewAsOf, stored, this.lastRecord.record, record)
    this.lastRecord = { raw, record }
  }

  private readonly sent = new Set<string>()

  /** Rule 4: within 10 s of a refresh (the answer may have been 5 s on its way) that is the answer, unless Yoto's API has refused what it brought. */
  private checkYoung({ process, keeper, calls }: Instance, refreshToken: string): void {
    const { set, trouble } = keeper.snapshot()
    const isRepeated = this.sent.has(refreshToken)
    this.sent.add(refreshToken)
    if (trouble || isRepeated) return // after a failure somebody may be waiting for it, and an intent is repeated at once
    const access = set && this.yoto.access(set.accessToken)
    const isRenewing = [...calls].some(({ what }) => what === 'renew')
    if (!access || access.of.value !== refreshToken || access.to !== process || isRenewing || this.clockHasJumped)
      return
    const life = access.expiresAt - access.issuedAt
    const age = this.scheduler.now - access.issuedAt
    if (age < Math.min(4_000, life / 2))
      this.judge.violate(`${process.name} sent ${refreshToken}, which it had just got`)
  }

  /** A sign-in that was held in memory is saved by now, or has yielded. */
  noteSaved(): void {
    for (const { keeper, unsaved, process } of this.instances) {
      if (unsaved.size === 0 || keeper.snapshot().notSaved) continue
      for (const act of unsaved) {
        const { set } = keeper.snapshot()
        const isOurs = set && this.yoto.access(set.accessToken)?.family === act.wanted
        this.judge.end(act, isOurs ? 'done' : 'uncertain')
        this.trace(process.name, isOurs ? `has saved ${act.what}` : `has given up ${act.what}`)
      }
      unsaved.clear()
    }
  }
}

/** @param hears.checked of every check that found the lease still held, at the moment of its answer */
function watched(lease: Lease, hears: { taken(): void; checked(): void }): Lease {
  const watch = (held: HeldLease): HeldLease => {
    hears.taken()
    return { ...held, check: () => held.check().then(hears.checked) }
  }
  return {
    acquire: async (options) => {
      const held = await lease.acquire(options)
      return held && watch(held)
    },
    tryAcquire: async () => {
      const held = await lease.tryAcquire()
      return held && watch(held)
    },
  }
}

const silentJournal = {
  add() {},
  count() {},
  read: async () => [],
  tick: async () => {},
  nextDue: () => undefined,
  flush: async () => {},
}
