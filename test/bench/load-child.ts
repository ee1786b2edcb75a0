import { once } from 'node:events'
import autocannon, { type Result as Figures, type Options } from 'autocannon'

/** The load, from a process of its own: autocannon, with every answer's time, as its own histogram counts whole milliseconds. */

export interface Load {
  url: string
  headers?: Record<string, string>
  connections: number
  /** Seconds; or as many requests as `amount` says. */
  duration?: number
  amount?: number
}

export interface Result {
  requestsPerSecond: number
  /** Milliseconds. */
  p50: number
  p99: number
  answers: number
  /** Everything but a 2xx. */
  bad: number
}

process.on('disconnect', () => process.exit())
process.on('message', async (load: Load) => {
  const times: number[] = []
  const began = performance.now()
  let ended = began
  const running = autocannon(load as Options, () => {})
  running.on('response', (_client, _status, _bytes, time) => {
    times.push(time)
    ended = performance.now()
  })
  const [{ errors, timeouts, non2xx }] = (await once(running, 'done')) as [Figures]
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN
  const result: Result = {
    requestsPerSecond: times.length / ((ended - began) / 1000),
    p50: at(0.5),
    p99: at(0.99),
    answers: times.length,
    bad: errors + timeouts + non2xx,
  }
  process.send?.(result)
})
