/** Whoever asks for an operation: a simulated process. */
export interface Caller {
  /**
   * One operation in three moments: it arrives, takes effect, is answered; virtual time passes between them. A process that has
   * crashed meanwhile never hears the answer, and the effect may or may not come about.
   * @param effect run at the moment of effect; what it returns or throws is the answer
   */
  operation<T>(what: string, effect: () => T): Promise<T>
  /** The wall clock of its machine, in milliseconds since 1970. */
  wall(): number
}
