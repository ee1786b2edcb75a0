import { buildApp } from '../build-app'
import { load, type Result } from '../load'
import { serve } from '../processes'
import { expectSame } from '../same'
import { AUTHORIZATION, type Scene } from '../scene'
import type { Row } from '../table'
import { inTurns, ratios, spreadOf } from '../turns'

const PATH = '/api/yoto/content/mine'

/** `/api/yoto/**` beside a route that does nothing but h3's `proxyRequest`. */
export async function proxy(scene: Scene, rounds: number): Promise<Row[]> {
  const { program } = await scene.signedIn()
  const service = await serve(program)
  const again = await serve(program)
  const env = { YOTO_API_URL: scene.yoto.apiUrl }
  const other = await serve({ entry: `${await buildApp('proxy')}/index.mjs`, env })
  for (const { url } of [again, other]) await expectSame(service.url, url, PATH)

  const turn = (url: string) => () => load({ url: url + PATH, headers: AUTHORIZATION, connections: 32, duration: 2 })
  const contestants = { service: turn(service.url), other: turn(other.url), again: turn(again.url) }
  await inTurns(contestants, 1)
  const results = await inTurns(contestants, rounds)
  for (const server of [service, again, other]) await server.stop()

  const rate = (all: Result[]) => all.map(({ requestsPerSecond }) => requestsPerSecond)
  const inThousands = (all: Result[]) => (spreadOf(rate(all)).median / 1000).toFixed(1)
  return [
    {
      what: '`/api/yoto/**`, 1 kB, 32 connections: requests/s',
      beside: "Nitro route of h3's `proxyRequest`",
      figures: `${inThousands(results.service)} / ${inThousands(results.other)} k/s`,
      result: ratios(rate(results.service), rate(results.other)),
      target: { comparison: '>=', value: 1 },
      control: ratios(rate(results.again), rate(results.service)),
    },
  ]
}
