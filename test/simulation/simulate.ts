import { createHash } from 'node:crypto'
import { loadCode } from './code'
import { PROFILES } from './profiles'
import { run } from './run'

// SEEDS= how many, FIRST= the first, PROFILE= which; TRACE=1 prints the run, HASHES=1 a hash of each seed's trace.

const { SEEDS = '100', FIRST = '1', PROFILE, TRACE, HASHES } = process.env
const code = await loadCode()
const names = PROFILE ? PROFILE.split(',') : Object.keys(PROFILES)
const first = Number(FIRST)
let failed = 0

for (const profile of names) {
  const began = performance.now()
  const sum = { steps: 0, time: 0, tokens: 0, rotations: 0, violations: 0 }
  const forced: Record<string, number> = {}
  for (let seed = first; seed < first + Number(SEEDS); seed++) {
    const hash = createHash('sha256')
    const onTrace = TRACE ? console.log : HASHES ? (line: string) => void hash.update(`${line}\n`) : undefined
    const outcome = await run({ code, seed, profile, onTrace })
    if (HASHES) console.log(profile, seed, hash.digest('hex').slice(0, 16))
    sum.steps += outcome.steps
    sum.time += outcome.time
    sum.tokens += outcome.tokens
    sum.rotations += outcome.rotations
    for (const [reason, count] of Object.entries(outcome.forced)) forced[reason] = (forced[reason] ?? 0) + count
    if (outcome.violations.length > 0) {
      sum.violations++
      console.log(`${profile} ${seed} (${outcome.ground}): ${outcome.violations.join('; ')}`)
    }
  }
  failed += sum.violations
  const took = (performance.now() - began) / 1000
  console.log(
    `${profile}: ${SEEDS} seeds, ${sum.steps} steps (${Math.round(sum.steps / took)}/s), ${Math.round(sum.time / 3_600_000)} virtual h, ` +
      `${sum.tokens} tokens, ${sum.rotations} rotations, forced ${JSON.stringify(forced)}, ${sum.violations} seeds with violations`,
  )
}
process.exitCode = failed > 0 ? 1 : 0
