/** Whoever asks for an operation: a simulated process. */
export interface Caller {
  /**
   * One operation in three moments: it arrives, takes effect, is answered; virtual time passes between them. A process that has
   * crashed meanwhile never hears the answer, and the effect may or may not come about; one that has crashed before never hears
   * anything. `effect` is run synchronously at the moment of effect; what it returns or throws is the answer.
   */
  operation<T>(what: string, effect: () => T): Promise<T>
  /** The wall clock of its machine, in milliseconds since 1970. */
  wall(): number
  /** Before each synchronous operation, as several may follow in one turn; what it throws is what the process sees instead. */
  moment?(what: string): void
}

/** Runs `what` after so many ms of virtual time, outside every process. */
export type Later = (ms: number, what: () => void) => void

/** A caller whose operations take effect and are answered at once, for tests of the parts alone. */
export function immediateCaller(wall: () => number = () => 0): Caller {
  return { operation: async (_, effect) => effect(), wall }
}
