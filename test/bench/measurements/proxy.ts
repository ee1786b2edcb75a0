import { buildApp } from '../build-app'
import { loadAnew, type Result } from '../load'
import type { Program } from '../processes'
import { expectSame } from '../same'
import type { Scene } from '../scene'
import type { Row } from '../table'
import { inTurns, ratios, spreadOf } from '../turns'

const PATH = '/api/yoto/content/mine'
const LOADS = { calls: { connections: 32, duration: 3 } }

/** `/api/yoto/**` beside a route that does nothing but h3's `proxyRequest`. */
export async function proxy(scene: Scene, rounds: number): Promise<Row[]> {
  const { program } = await scene.signedIn()
  const route = { entry: `${await buildApp('proxy')}/index.mjs`, env: { YOTO_API_URL: scene.yoto.apiUrl } }
  await expectSame(program, route, PATH)

  const turn = (program: Program) => () => loadAnew(program, PATH, LOADS)
  const { service, other, again } = await inTurns(
    { service: turn(program), other: turn(route), again: turn(program) },
    rounds,
  )

  const rate = (results: { calls: Result }[]) => results.map(({ calls }) => calls.requestsPerSecond)
  const inThousands = (results: { calls: Result }[]) => (spreadOf(rate(results)).median / 1000).toFixed(1)
  return [
    {
      what: '`/api/yoto/**`, 1 kB, 32 connections: requests/s',
      beside: "Nitro route of h3's `proxyRequest`",
      figures: `${inThousands(service)} / ${inThousands(other)} k/s`,
      result: ratios(rate(service), rate(other)),
      target: { comparison: '>=', value: 1 },
      control: ratios(rate(again), rate(service)),
    },
  ]
}
