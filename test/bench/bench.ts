import { readFileSync } from 'node:fs'
import { expiry } from './measurements/expiry'
import { memory } from './measurements/memory'
import { proxy } from './measurements/proxy'
import { rotations } from './measurements/rotations'
import { size } from './measurements/size'
import { start } from './measurements/start'
import { token } from './measurements/token'
import { openScene } from './scene'
import { isMet, measuredOn, type Row, tableOf } from './table'

/**
 * `npm run bench`: the service beside the barest that does the same, all in one run on one machine. Ratios are the result, as absolute
 * figures are the machine's. Arguments: names of measurements, by default all, and ROUNDS=15.
 */

const MEASUREMENTS = { token, proxy, start, memory, size, expiry, rotations }
type Name = keyof typeof MEASUREMENTS

const words = process.argv.slice(2)
const asked = words.find((word) => word.startsWith('ROUNDS='))?.slice('ROUNDS='.length)
const rounds = Number(asked ?? process.env.ROUNDS ?? 15)
const names = words.filter((word) => !word.startsWith('ROUNDS=')) as Name[]
const unknown = names.filter((name) => !(name in MEASUREMENTS))
if (unknown.length > 0 || !(rounds >= 1)) {
  console.error(`usage: npm run bench -- [ROUNDS=15] [${Object.keys(MEASUREMENTS).join('|')}]...`)
  process.exit(2)
}

const scene = await openScene()
const rows: Row[] = []
for (const name of names.length > 0 ? names : (Object.keys(MEASUREMENTS) as Name[])) {
  const began = performance.now()
  console.error(`${name} …`)
  rows.push(...(await MEASUREMENTS[name](scene, rounds)))
  console.error(`${name}: ${((performance.now() - began) / 1000).toFixed(0)} s`)
}

console.log(`${tableOf(rows)}\n\n${measuredOn(rounds, versionsOf('nitropack', 'h3', 'autocannon'))}`)
process.exit(rows.every(isMet) ? 0 : 1)

function versionsOf(...packages: string[]): Record<string, string> {
  const lock = JSON.parse(readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8'))
  return Object.fromEntries(packages.map((name) => [name, lock.packages[`node_modules/${name}`].version]))
}
