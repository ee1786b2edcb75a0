interface Moment {
  time: number
  order: number
  run(): void
}

/** Virtual time, in milliseconds since the beginning of the run. One moment after the other, and all that follows from each before the next. */
export class Scheduler {
  now = 0
  steps = 0
  private order = 0
  /** A binary heap: the earliest is first. */
  private readonly moments: Moment[] = []

  after(delay: number, run: () => void): void {
    const heap = this.moments
    const moment = { time: this.now + Math.max(0, delay), order: this.order++, run }
    let at = heap.push(moment) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(moment, heap[parent] as Moment)) break
      heap[at] = heap[parent] as Moment
      at = parent
    }
    heap[at] = moment
  }

  /** Runs moments until virtual time has come to `end`. */
  async runUntil(end: number): Promise<void> {
    await settled()
    for (let next = this.moments[0]; next && next.time <= end; next = this.moments[0]) {
      this.take()
      this.now = next.time
      this.steps++
      next.run()
      await settled()
    }
    this.now = Math.max(this.now, end)
  }

  private take(): void {
    const heap = this.moments
    const last = heap.pop()
    if (!last || heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Moment, heap[child] as Moment)) child++
      if (!isBefore(heap[child] as Moment, last)) break
      heap[at] = heap[child] as Moment
      at = child
    }
    heap[at] = last
  }
}

function isBefore(a: Moment, b: Moment): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order)
}

/** When no promise has anything left to do. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
