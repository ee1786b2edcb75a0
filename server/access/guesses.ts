import RateLimiterMemory from 'rate-limiter-flexible/lib/RateLimiterMemory.js'

/** Wrong keys in `PERIOD` seconds that are answered as such; after them it is `too_many_requests`. */
const PER_ADDRESS = 10
const OVERALL = 100
const PERIOD = 60

export interface Guesses {
  /**
   * Counts a wrong key.
   * @param address where it came from; undefined where that is not known for certain
   * @returns milliseconds to wait if there have been too many, and whether this was the first one too many
   */
  count(address: string | undefined): Promise<{ wait: number; first: boolean } | undefined>
}

/** In memory, for one process: it spares a stranger's guesses an answer, and an owner's wrong script a surprise; what protects is the key's length. */
export function countGuesses(): Guesses {
  const overall = new RateLimiterMemory({ points: OVERALL, duration: PERIOD })
  const perAddress = new RateLimiterMemory({ points: PER_ADDRESS, duration: PERIOD })

  async function consume(limiter: RateLimiterMemory, key: string) {
    const used = await limiter.penalty(key, 1)
    if (used.consumedPoints <= limiter.points) return undefined
    return { wait: used.msBeforeNext, first: used.consumedPoints === limiter.points + 1 }
  }

  return {
    async count(address) {
      // Overall first: once that is used up, no more addresses are remembered.
      return (await consume(overall, 'all')) ?? (address ? consume(perAddress, address) : undefined)
    },
  }
}
