import { fileURLToPath } from 'node:url'
import { load } from '../load'
import { ask, type Server, serve } from '../processes'
import { AUTHORIZATION, type Scene } from '../scene'
import type { Row } from '../table'
import { inTurns, ratios, spreadOf } from '../turns'

const ROTATIONS = Number(process.env.ROTATIONS ?? 20_000)

/** What a process has lived through must not slow it down: beside one that has refreshed nothing, before and after. */
export async function rotations(scene: Scene, rounds: number): Promise<Row[]> {
  const [old, young] = [await serveWithDays(scene), await serveWithDays(scene)]
  await underLoad(old, young, 1)
  const before = await underLoad(old, young, rounds)
  await refresh(scene, old)
  await underLoad(old, young, 1)
  const after = await underLoad(old, young, rounds)
  await old.stop()
  await young.stop()

  const [was, is] = [ratiosOf(before), ratiosOf(after)]
  return [
    {
      what: `requests/s after ${ROTATIONS.toLocaleString('en')} rotations in the process’s life`,
      beside: 'before them, each beside a process without any',
      figures: `${inThousands(after.old)} / ${inThousands(before.old)} k/s`,
      result: {
        median: is.median / was.median,
        from: is.from / was.median,
        to: is.to / was.median,
      },
      target: { comparison: '>=', value: 0.98 },
      control: was,
    },
  ]
}

async function serveWithDays(scene: Scene): Promise<Server> {
  const { program } = await scene.signedIn()
  const days = fileURLToPath(new URL('../days.mjs', import.meta.url))
  return serve({ ...program, args: ['--import', days], ipc: true })
}

/** A day later the token has run out, and whoever asks waits for the next. */
async function refresh(scene: Scene, server: Server): Promise<void> {
  const before = await scene.tellYoto<number>('count')
  for (let day = 1; day <= ROTATIONS; day++) {
    await ask(server.child, 'a day')
    const answer = await fetch(`${server.url}/api/token`, { headers: AUTHORIZATION })
    await answer.arrayBuffer()
    if (answer.status !== 200) throw new Error(`rotation ${day}: ${answer.status}`)
    if (day % 1_000 === 0) console.error(`  ${day} rotations`)
  }
  const refreshed = (await scene.tellYoto<number>('count')) - before
  if (refreshed < ROTATIONS) throw new Error(`${refreshed} refreshes instead of ${ROTATIONS}`)
}

type Rates = Record<'old' | 'young', number[]>

async function underLoad(old: Server, young: Server, rounds: number): Promise<Rates> {
  const turn =
    ({ url }: Server) =>
    async () =>
      (await load({ url: `${url}/api/token`, headers: AUTHORIZATION, connections: 32, duration: 2 })).requestsPerSecond
  return inTurns({ old: turn(old), young: turn(young) }, rounds)
}

const ratiosOf = ({ old, young }: Rates) => ratios(old, young)
const inThousands = (rates: number[]) => (spreadOf(rates).median / 1000).toFixed(1)
