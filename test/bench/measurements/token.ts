import { fileURLToPath } from 'node:url'
import { buildApp } from '../build-app'
import { loadAnew, type Result } from '../load'
import type { Program } from '../processes'
import { expectSame, securityHeadersOf } from '../same'
import { KEY, type Scene } from '../scene'
import type { Row } from '../table'
import { inTurns, ratios, spreadOf } from '../turns'

const PATH = '/api/token'
const LOADS = { many: { connections: 32, duration: 2 }, one: { connections: 1, duration: 1 } }
type Results = Record<keyof typeof LOADS, Result>[]

/** `GET /api/token` of a valid token, beside routes that answer the same bytes with less in front of them. */
export async function token(scene: Scene, rounds: number): Promise<Row[]> {
  const { program, token } = await scene.signedIn()
  const headers = await securityHeadersOf(program, PATH)
  const env = { BENCH_TOKEN: token.access_token, BENCH_EXPIRES_AT: token.expires_at }
  const guard = { ...env, KEEPER_KEY: KEY, BENCH_HEADERS: JSON.stringify(headers) }
  const nitroRoute = { entry: `${await buildApp('bare')}/index.mjs`, env }
  const guardedRoute = { entry: `${await buildApp('guarded')}/index.mjs`, env: guard }
  const nodeServer = { entry: fileURLToPath(new URL('../apps/node-http.mjs', import.meta.url)), env }
  for (const other of [nitroRoute, nodeServer]) await expectSame(program, other, PATH)
  await expectSame(program, guardedRoute, PATH, Object.keys(headers))

  const turn = (program: Program) => () => loadAnew(program, PATH, LOADS)
  const { service, bare, guarded, again, http } = await inTurns(
    {
      service: turn(program),
      bare: turn(nitroRoute),
      guarded: turn(guardedRoute),
      again: turn(program),
      http: turn(nodeServer),
    },
    rounds,
  )

  const rate = (results: Results) => results.map(({ many }) => many.requestsPerSecond)
  const p99 = (results: Results) => results.map(({ many }) => many.p99)
  const p50 = (results: Results) => results.map(({ one }) => one.p50)
  const what = '`GET /api/token`, 32 connections'
  const perSecond = (other: Results) => `${inThousands(rate(service))} / ${inThousands(rate(other))} k/s`
  const control = ratios(rate(again), rate(service))
  return [
    {
      what: `${what}: requests/s`,
      beside: 'Nitro route behind the minimal guard',
      figures: perSecond(guarded),
      result: ratios(rate(service), rate(guarded)),
      target: { comparison: '>=', value: 1 },
      control,
    },
    {
      what: `${what}: requests/s`,
      beside: 'bare Nitro route',
      figures: perSecond(bare),
      result: ratios(rate(service), rate(bare)),
      target: { comparison: '>=', value: 0.8 },
      control,
    },
    {
      what: `${what}: requests/s`,
      beside: 'bare `node:http`',
      figures: perSecond(http),
      result: ratios(rate(service), rate(http)),
      control,
    },
    {
      what: `${what}: p99`,
      beside: 'bare Nitro route',
      figures: inMs(p99(service), p99(bare)),
      result: ratios(p99(service), p99(bare)),
      target: { comparison: '<=', value: 1.3 },
      control: ratios(p99(again), p99(service)),
    },
    {
      what: '`GET /api/token`, 1 connection: median latency',
      beside: 'bare Nitro route',
      figures: inMs(p50(service), p50(bare)),
      result: ratios(p50(service), p50(bare)),
      target: { comparison: '<=', value: 1.2 },
      control: ratios(p50(again), p50(service)),
    },
  ]
}

function inThousands(rates: number[]): string {
  return (spreadOf(rates).median / 1000).toFixed(1)
}

function inMs(ours: number[], theirs: number[]): string {
  return `${spreadOf(ours).median.toFixed(3)} / ${spreadOf(theirs).median.toFixed(3)} ms`
}
