import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { startStandIn } from '../support/stand-in'
import type { Order, Report } from './two-years'

const ROTATIONS = 1_500

const cleanUps: (() => unknown)[] = []
afterAll(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

it(`rotates ${ROTATIONS} times, a rotation every 12 hours, and leaves nothing behind`, {
  timeout: 900_000,
}, async () => {
  const yoto = await startStandIn({ leewayMs: 0 })
  cleanUps.push(yoto.stop)
  const began = performance.now()
  const child = fork(fileURLToPath(new URL('two-years.ts', import.meta.url)), {
    execArgv: ['--expose-gc', '--import', 'tsx'],
  })
  cleanUps.push(() => child.kill('SIGKILL'))
  const { url, clientId } = yoto
  const order: Order = { url, clientId, refreshToken: yoto.seed().refresh_token, rotations: ROTATIONS }
  child.send(order)
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the process ended early with ${code}`)
  })
  const [report] = (await Promise.race([once(child, 'message'), ended])) as [Report]
  const took = performance.now() - began

  const { heap, descriptors, timers, resources } = report
  const quarter = heap.length / 4
  const second = median(heap.slice(quarter, quarter * 2))
  const last = median(heap.slice(quarter * 3))
  console.log(
    [
      `two years: ${report.rotations} rotations in ${(took / 1000).toFixed(0)} s, ${yoto.counts.refresh_ok} refreshes at the server`,
      `  heap: ${mb(second)} MB in the second quarter, ${mb(last)} MB in the last: ${percent(last / second - 1)}`,
      `  files: at most ${report.mostFiles} with ${report.mostBytes} bytes; ${report.journalEvents} events in the journal`,
      `  before and after: descriptors ${descriptors.join(', ')}; timers ${timers.join(', ')}`,
    ].join('\n'),
  )
  expect(yoto.counts).toMatchObject({ refresh_ok: ROTATIONS, refresh_refused: 0 })
  expect(Math.abs(last / second - 1)).toBeLessThan(0.05)
  expect(report.mostFiles).toBeLessThanOrEqual(10)
  expect(report.mostBytes).toBeLessThan(200_000)
  expect(report.journalEvents).toBe(500)
  expect(descriptors[1]).toBeLessThanOrEqual(descriptors[0])
  expect(timers[1]).toBeLessThanOrEqual(timers[0])
  expect(resources[1]).toEqual(resources[0])
})

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

const mb = (bytes: number) => (bytes / 1024 / 1024).toFixed(2)
const percent = (ratio: number) => `${(ratio * 100).toFixed(1)} %`
