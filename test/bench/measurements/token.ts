import { fileURLToPath } from 'node:url'
import { buildApp } from '../build-app'
import { type Load, load, type Result } from '../load'
import { type Program, type Server, serve } from '../processes'
import { expectSame, securityHeadersOf } from '../same'
import { AUTHORIZATION, KEY, type Scene } from '../scene'
import type { Row } from '../table'
import { inTurns, ratios, spreadOf } from '../turns'

/** `GET /api/token` of a valid token, beside routes that answer the same bytes with less in front of them. */
export async function token(scene: Scene, rounds: number): Promise<Row[]> {
  const { program, token } = await scene.signedIn()
  const service = await serve(program)
  const again = await serve(program)
  const env = { BENCH_TOKEN: token.access_token, BENCH_EXPIRES_AT: token.expires_at }
  const headers = await securityHeadersOf(`${service.url}/api/token`)
  const guardedEnv = { ...env, KEEPER_KEY: KEY, BENCH_HEADERS: JSON.stringify(headers) }
  const servers = {
    service,
    bare: await serve(await nitro('bare', env)),
    guarded: await serve(await nitro('guarded', guardedEnv)),
    again,
    http: await serve({ entry: fileURLToPath(new URL('../apps/node-http.mjs', import.meta.url)), env }),
  }
  for (const server of Object.values(servers)) await expectSame(service.url, server.url, '/api/token')
  await expectSame(service.url, servers.guarded.url, '/api/token', Object.keys(headers))

  const many = await underLoad(servers, { connections: 32, duration: 2 }, rounds)
  const one = await underLoad(servers, { connections: 1, duration: 1 }, rounds)
  for (const server of Object.values(servers)) await server.stop()

  const rate = (results: Result[]) => results.map(({ requestsPerSecond }) => requestsPerSecond)
  const p99 = (results: Result[]) => results.map((result) => result.p99)
  const p50 = (results: Result[]) => results.map((result) => result.p50)
  const what = '`GET /api/token`, 32 connections'
  const perSecond = (other: Result[]) => `${inThousands(rate(many.service))} / ${inThousands(rate(other))} k/s`
  const control = ratios(rate(many.again), rate(many.service))
  return [
    {
      what: `${what}: requests/s`,
      beside: 'Nitro route behind the minimal guard',
      figures: perSecond(many.guarded),
      result: ratios(rate(many.service), rate(many.guarded)),
      target: { comparison: '>=', value: 1 },
      control,
    },
    {
      what: `${what}: requests/s`,
      beside: 'bare Nitro route',
      figures: perSecond(many.bare),
      result: ratios(rate(many.service), rate(many.bare)),
      target: { comparison: '>=', value: 0.8 },
      control,
    },
    {
      what: `${what}: requests/s`,
      beside: 'bare `node:http`',
      figures: perSecond(many.http),
      result: ratios(rate(many.service), rate(many.http)),
      control,
    },
    {
      what: `${what}: p99`,
      beside: 'bare Nitro route',
      figures: inMs(p99(many.service), p99(many.bare)),
      result: ratios(p99(many.service), p99(many.bare)),
      target: { comparison: '<=', value: 1.3 },
      control: ratios(p99(many.again), p99(many.service)),
    },
    {
      what: '`GET /api/token`, 1 connection: median latency',
      beside: 'bare Nitro route',
      figures: inMs(p50(one.service), p50(one.bare)),
      result: ratios(p50(one.service), p50(one.bare)),
      target: { comparison: '<=', value: 1.2 },
      control: ratios(p50(one.again), p50(one.service)),
    },
  ]
}

async function nitro(name: 'bare' | 'guarded', env: Record<string, string>): Promise<Program> {
  return { entry: `${await buildApp(name)}/index.mjs`, env }
}

/** All of them run all the time, and one at a time is asked. The first turn warms up. */
async function underLoad<Name extends string>(
  servers: Record<Name, Server>,
  how: Pick<Load, 'connections' | 'duration'>,
  rounds: number,
): Promise<Record<Name, Result[]>> {
  const names = Object.keys(servers) as Name[]
  const turn = (name: Name) => () => load({ ...how, url: `${servers[name].url}/api/token`, headers: AUTHORIZATION })
  const contestants = Object.fromEntries(names.map((name) => [name, turn(name)])) as Record<Name, () => Promise<Result>>
  await inTurns(contestants, 1)
  return inTurns(contestants, rounds)
}

function inThousands(rates: number[]): string {
  return (spreadOf(rates).median / 1000).toFixed(1)
}

function inMs(ours: number[], theirs: number[]): string {
  return `${spreadOf(ours).median.toFixed(3)} / ${spreadOf(theirs).median.toFixed(3)} ms`
}
