/** The two clocks; both in milliseconds. Tests put others in their place. */
export interface Clock {
  /** Since 1970; may jump. */
  wall(): number
  /** Since some moment; never goes back, but may stand still while the machine sleeps. */
  monotonic(): number
}

export const systemClock: Clock = { wall: () => Date.now(), monotonic: () => performance.now() }
