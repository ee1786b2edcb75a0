/** One value of every contestant a round: A B C A B C …, so that what the machine does meanwhile meets all of them. */
export async function inTurns<Name extends string, Result>(
  contestants: Record<Name, () => Promise<Result>>,
  rounds: number,
): Promise<Record<Name, Result[]>> {
  const names = Object.keys(contestants) as Name[]
  const results = Object.fromEntries(names.map((name) => [name, [] as Result[]])) as Record<Name, Result[]>
  for (let round = 1; round <= rounds; round++) {
    for (const name of names) results[name].push(await contestants[name]())
  }
  return results
}

export interface Spread {
  median: number
  /** The middle half. */
  from: number
  to: number
}

export function spreadOf(values: number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number) => {
    const place = (sorted.length - 1) * share
    const [low = Number.NaN, high = low] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]]
    return low + (high - low) * (place - Math.floor(place))
  }
  return { median: at(0.5), from: at(0.25), to: at(0.75) }
}

/** Round by round, so that a slow stretch of the machine is on both sides of a ratio. */
export function ratios(above: number[], below: number[]): Spread {
  return spreadOf(above.map((value, round) => value / (below[round] ?? Number.NaN)))
}
