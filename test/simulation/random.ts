/** Seeded chance: every decision of a run is drawn from it, so that a run is a function of its seed. */
export interface Random {
  /** From 0 to 1, without 1. */
  next(): number
  chance(probability: number): boolean
  /** A whole number from 0 to `limit`, without `limit`. */
  below(limit: number): number
  between(from: number, to: number): number
  pick<T>(list: readonly T[]): T
}

/** mulberry32 (public domain, Tommy Ettinger): 32 bits of state are enough for runs of a million steps. */
export function createRandom(seed: number): Random {
  let state = (seed * 0x9e3779b1) >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    next,
    chance: (probability) => probability > 0 && next() < probability,
    below,
    between: (from, to) => from + next() * (to - from),
    pick: (list) => list[below(list.length)] as (typeof list)[number],
  }
}
