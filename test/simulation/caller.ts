/** Whoever asks for an operation: a simulated process. */
export interface Caller {
  /**
   * One operation in three moments: it arrives, takes effect, is answered; virtual time passes between them. A process that has
   * crashed meanwhile never hears the answer, and the effect may or may not come about; one that has crashed before never hears
   * anything. `effect` is run synchronously at the moment of effect; what it returns or throws is the answer.
   */
  operation<T>(what: string, effect: () => T): Promise<T>
  /** Wall clock of the machine in ms, for modification times. */
  wall(): number
  /** Before each synchronous operation, as several may follow in one turn; what it throws is what the process sees instead. */
  moment?(what: string): void
}

/** Seeded; every random decision is drawn from here, so that a run is a function of its seed. */
export interface Random {
  /** [0,1) */
  next(): number
  chance(p: number): boolean
  /** 0 to n - 1 */
  below(n: number): number
  pick<T>(list: readonly T[]): T
}

/** Runs `what` after so many ms of virtual time, outside every process. */
export type Later = (ms: number, what: () => void) => void

/** A caller whose operations take effect and are answered at once, for tests of the parts alone. */
export function immediateCaller(wall: () => number = () => 0): Caller {
  return { operation: async (_, effect) => effect(), wall }
}

/** mulberry32 (github.com/bryc/code, PRNGs): 32 bits of state, enough to choose among faults. */
export function seededRandom(seed: number): Random {
  let state = seed | 0
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(next() * n)
  return { next, chance: (p) => next() < p, below, pick: <T>(list: readonly T[]) => list[below(list.length)] as T }
}
