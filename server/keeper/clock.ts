/** The two clocks; both in milliseconds. Tests put others in their place. */
export interface Clock {
  /** Since 1970; may jump. */
  wall(): number
  /** Since some moment; never goes back, but may stand still while the machine sleeps. */
  monotonic(): number
}

/** By the wall clock, when the monotonic one will show `time`; in the past: now. */
export function wallTimeOf(time: number, clock: Clock): number {
  return clock.wall() + Math.max(0, time - clock.monotonic())
}

export const systemClock: Clock = { wall: () => Date.now(), monotonic: () => performance.now() }
