import { readFileSync } from 'node:fs'
import { buildApp } from '../build-app'
import { load } from '../load'
import { type Program, serve } from '../processes'
import { AUTHORIZATION, type Scene } from '../scene'
import type { Row } from '../table'
import { inTurns, ratios, spreadOf } from '../turns'

const REQUESTS = 100_000

/** What a process occupies after many requests; every value is that of a new one. */
export async function memory(scene: Scene, rounds: number): Promise<Row[]> {
  const { program, token } = await scene.signedIn()
  const env = { BENCH_TOKEN: token.access_token, BENCH_EXPIRES_AT: token.expires_at }
  const bare = { entry: `${await buildApp('bare')}/index.mjs`, env }
  const contestants = {
    service: () => residentAfterLoad(program),
    bare: () => residentAfterLoad(bare),
    again: () => residentAfterLoad(program),
  }
  const occupied = await inTurns(contestants, Math.ceil(rounds / 3))
  return [
    {
      what: 'resident memory after 100,000 requests',
      beside: 'bare Nitro app',
      figures: `${spreadOf(occupied.service).median.toFixed(0)} / ${spreadOf(occupied.bare).median.toFixed(0)} MiB`,
      result: ratios(occupied.service, occupied.bare),
      target: { comparison: '<=', value: 1.15 },
      control: ratios(occupied.again, occupied.service),
    },
  ]
}

/** MiB. */
async function residentAfterLoad(program: Program): Promise<number> {
  const server = await serve(program)
  await load({ url: `${server.url}/api/token`, headers: AUTHORIZATION, connections: 32, amount: REQUESTS })
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8')
  await server.stop()
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024
}
