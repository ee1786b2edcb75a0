import { createHash } from 'node:crypto'
import { loadCode } from './code'
import { PROFILES } from './profiles'
import { type Outcome, run } from './run'

// npm run test:simulate: many runs, each a function of its profile and its seed.
//   PROFILE=  which, with commas (all)
//   FIRST=    the first seed (1), SEEDS= how many of each profile (100)
//   SECONDS=  for how long, in place of SEEDS; without FIRST half of it on seeds from 1, half on new ones
//   TRACE=1   prints what happens; HASHES=1 a hash of each run's trace, to compare two versions of the code by (CODE=)

const { SEEDS, FIRST, PROFILE, SECONDS, TRACE, HASHES, GROUND } = process.env
/** Of a failing run: so many lines up to its first violation. */
const LINES = 60

interface Row {
  seeds: number
  steps: number
  /** Milliseconds, virtual and real. */
  time: number
  took: number
  tokens: number
  rotations: number
  forced: Map<string, number>
  violations: number
}

/** By profile and ground. */
const rows = new Map<string, Row>()
const failures: string[] = []
let passed = 0

const code = await loadCode()
const profiles = PROFILE ? PROFILE.split(',') : Object.keys(PROFILES)
for (const profile of profiles) {
  if (!SECONDS) await runSeeds(profile, Number(FIRST ?? 1), { count: Number(SEEDS ?? 100) })
  else {
    const share = (Number(SECONDS) * 1000) / profiles.length
    const firsts = FIRST ? [Number(FIRST)] : [1, 1_000_000 + (Date.now() % 1_000_000_000)]
    for (const first of firsts) await runSeeds(profile, first, { duration: share / firsts.length })
  }
}
printTable()
for (const failure of failures) console.log(failure)
console.log(`${passed} passed, ${failures.length} failed`)
process.exitCode = failures.length > 0 ? 1 : 0

async function runSeeds(
  profile: string,
  first: number,
  { count = Number.POSITIVE_INFINITY, duration = Number.POSITIVE_INFINITY },
): Promise<void> {
  const end = performance.now() + duration
  let seed = first
  do await runSeed(profile, seed++)
  while (seed < first + count && performance.now() < end)
  console.log(`${profile}: seeds ${first} to ${seed - 1}`)
}

async function runSeed(profile: string, seed: number): Promise<void> {
  const began = performance.now()
  const hash = createHash('sha256')
  const onTrace = TRACE ? console.log : HASHES ? (line: string) => void hash.update(`${line}\n`) : undefined
  try {
    const outcome = await run({ code, seed, profile, ground: GROUND as Outcome['ground'] | undefined, onTrace })
    if (HASHES) console.log(profile, seed, hash.digest('hex').slice(0, 16))
    add(outcome, performance.now() - began)
    if (outcome.violations.length === 0) passed++
    else await fail(profile, seed, outcome.violations)
  } catch (error) {
    await fail(profile, seed, [String((error as Error).stack)])
  }
}

function add({ profile, ground, steps, time, tokens, rotations, forced, violations }: Outcome, took: number): void {
  const key = `${profile} ${ground}`
  const row = rows.get(key) ?? {
    ...{ seeds: 0, steps: 0, time: 0, took: 0, tokens: 0, rotations: 0, violations: 0 },
    forced: new Map<string, number>(),
  }
  rows.set(key, row)
  row.seeds++
  row.steps += steps
  row.time += time
  row.took += took
  row.tokens += tokens
  row.rotations += rotations
  row.violations += violations.length
  for (const [reason, times] of Object.entries(forced)) row.forced.set(reason, (row.forced.get(reason) ?? 0) + times)
}

async function fail(profile: string, seed: number, violations: string[]): Promise<void> {
  console.log(`${profile} ${seed}: ${violations.join('; ')}`)
  const lines: string[] = []
  const until = Number.parseFloat(violations[0] ?? '') // NaN where the run itself has failed
  const onTrace = (line: string) => {
    if (Number.parseFloat(line) > until) return
    lines.push(line)
    if (lines.length > LINES) lines.shift()
  }
  await run({ code, seed, profile, ground: GROUND as Outcome['ground'] | undefined, onTrace }).catch(() => {})
  const again = `PROFILE=${profile} FIRST=${seed} SEEDS=1 TRACE=1 npm run test:simulate`
  failures.push(['', ...lines, `${profile} ${seed}: ${violations.join('\n  ')}`, `again: ${again}`].join('\n'))
}

function printTable(): void {
  const numbers = ['seeds', 'steps', 'steps/s', 'virtual h', 'tokens', 'rotations', 'violations']
  const lines = [['profile', 'ground', ...numbers, 'forced']]
  const entries = [...rows]
  const all = entries.map(([, row]) => row)
  for (const [key, row] of [...entries, ['all', sumOf(all)] as const]) {
    const [profile = '', ground = ''] = key.split(' ')
    const { seeds, steps, time, took, tokens, rotations, violations, forced } = row
    const values = [seeds, steps, (steps / took) * 1000, time / 3_600_000, tokens, rotations, violations]
    const reasons = [...forced].map(([reason, times]) => `${times} ${reason}`).join(', ')
    lines.push([profile, ground, ...values.map((value) => String(Math.round(value))), reasons])
  }
  const widths = (lines[0] ?? []).map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0)))
  const isNumber = (at: number) => at >= 2 && at < 2 + numbers.length
  for (const line of lines) {
    const cells = line.map((cell, at) => (isNumber(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
    console.log(cells.join('  ').trimEnd())
  }
}

function sumOf(all: Row[]): Row {
  const sum = (key: Exclude<keyof Row, 'forced'>) => all.reduce((total, row) => total + row[key], 0)
  const forced = new Map<string, number>()
  for (const row of all) for (const [reason, times] of row.forced) forced.set(reason, (forced.get(reason) ?? 0) + times)
  return {
    ...{ seeds: sum('seeds'), steps: sum('steps'), time: sum('time'), took: sum('took') },
    ...{ tokens: sum('tokens'), rotations: sum('rotations'), violations: sum('violations'), forced },
  }
}
