import type { Caller } from './caller'
import type { Surroundings } from './code'
import type { Random } from './random'
import type { Scheduler } from './scheduler'

/** Wall clocks begin here: 2026-01-01. */
export const EPOCH = Date.UTC(2026, 0, 1)

export interface ProcessParts {
  name: string
  scheduler: Scheduler
  random: Random
  /** Milliseconds until an operation takes effect, and until it is answered. */
  latency(what: string): number
  trace(who: string, what: string): void
  /** Something has taken effect, and what it knew when it asked for it was as old as that. */
  onEffect?(knewAsOf: number): void
  /** Something runs in it though nobody asks. */
  runsByItself: boolean
}

/** A process on a machine of its own: it can crash at any moment, be stopped and go on, and its clocks are its own. */
export class SimulatedProcess implements Caller {
  isAlive = true
  diedAt?: number
  /** Milliseconds by which its wall clock is ahead. */
  wallOffset = 0
  /** When the operation that was answered last took effect: what the process knows of the world is as old as that. */
  knowsAsOf = 0
  /** When it was last told that its lease is still its own. */
  checkedAt = Number.NEGATIVE_INFINITY
  /** Its monotonic clock has stood still. */
  hasSlept = false
  /** When it went on after its last stop. */
  wentOnAt = Number.NEGATIVE_INFINITY
  readonly bornAt: number
  /** Since when it stands still, and whether its monotonic clock does. */
  private stopped?: { at: number; asleep: boolean }
  private asleepFor = 0
  private missed: (() => void)[] = []
  private readonly timers = new Set<object>()

  constructor(private readonly parts: ProcessParts) {
    this.bornAt = parts.scheduler.now
  }

  get name(): string {
    return this.parts.name
  }

  get runsByItself(): boolean {
    return this.parts.runsByItself
  }

  get isStopped(): boolean {
    return this.stopped !== undefined
  }

  /** Since when it stands still. */
  get stoppedAt(): number | undefined {
    return this.stopped?.at
  }

  wall(): number {
    return EPOCH + this.parts.scheduler.now + this.wallOffset
  }

  monotonic(): number {
    const now = this.stopped?.asleep ? this.stopped.at : this.parts.scheduler.now
    return now - this.bornAt - this.asleepFor
  }

  operation<T>(what: string, effect: () => T): Promise<T> {
    const { scheduler, random, latency } = this.parts
    const { knowsAsOf } = this
    return new Promise((resolve, reject) => {
      scheduler.after(latency(what), () => {
        if (!this.isAlive && random.chance(0.5)) return
        let answer: () => void
        let outcome = ''
        try {
          const value = effect()
          answer = () => resolve(value)
        } catch (error) {
          outcome = ` ! ${(error as { code?: string }).code ?? (error as Error).message}`
          answer = () => reject(error)
        }
        this.parts.onEffect?.(knowsAsOf)
        this.parts.trace(this.name, `${what}${outcome}`)
        const tookEffectAt = scheduler.now
        scheduler.after(latency(what), () =>
          this.deliver(() => {
            this.knowsAsOf = tookEffectAt
            answer()
          }),
        )
      })
    })
  }

  /** Runs something in the process: at once, when it goes on, or never. */
  deliver(run: () => void): void {
    if (!this.isAlive) return
    if (this.stopped) this.missed.push(run)
    else run()
  }

  crash(): void {
    this.isAlive = false
    this.diedAt = this.parts.scheduler.now
    this.missed = []
    this.timers.clear()
  }

  /** @param asleep with its machine, whose monotonic clock stands still then */
  stop(asleep: boolean): void {
    this.stopped ??= { at: this.parts.scheduler.now, asleep }
    this.hasSlept ||= asleep
  }

  goOn(): void {
    if (!this.stopped) return
    const { scheduler } = this.parts
    if (this.stopped.asleep) this.asleepFor += scheduler.now - this.stopped.at
    this.stopped = undefined
    this.wentOnAt = scheduler.now
    const missed = this.missed
    this.missed = []
    for (const run of missed) scheduler.after(0, () => this.deliver(run))
  }

  surroundings(modules: Record<string, unknown>): Surroundings {
    const { scheduler, random } = this.parts
    const timer = (run: () => void, delay: number, again: boolean): object => {
      const handle = { unref: () => handle, ref: () => handle }
      this.timers.add(handle)
      const arm = () =>
        scheduler.after(delay, () =>
          this.deliver(() => {
            if (!this.timers.has(handle)) return
            if (again) arm()
            else this.timers.delete(handle)
            run()
          }),
        )
      arm()
      return handle
    }
    const clear = (handle: unknown) => void this.timers.delete(handle as object)
    return {
      setTimeout: (run, delay = 0) => timer(run, delay, false),
      clearTimeout: clear,
      setInterval: (run, delay = 0) => timer(run, delay, true),
      clearInterval: clear,
      performance: { now: () => this.monotonic() },
      wall: () => this.wall(),
      random: random.next,
      modules,
    }
  }
}
