import type { ChildProcess } from 'node:child_process'
import { age, ages, startService, storeLogin, tokenLease } from '../../crash/folder'
import { waitUntil } from '../../support/wait-until'
import type { Call } from '../callers'
import { ask, forkHelper, temporaryFolder } from '../processes'
import { KEY, type Scene } from '../scene'
import type { Row } from '../table'
import { spreadOf } from '../turns'

const PROCESSES = 8
const CALLERS = 4_000
/** Milliseconds that Yoto takes for a refresh. */
const YOTOS_OWN = 300

/** Very many callers, of many processes on one folder, at the moment at which the token has run out. */
export async function expiry(scene: Scene, rounds: number): Promise<Row[]> {
  const dir = temporaryFolder()
  const { authUrl: url, clientId } = scene.yoto
  await storeLogin(dir, clientId, await scene.tellYoto('seed'))
  const keepers = await Promise.all(
    Array.from({ length: PROCESSES }, () => startService(dir, { url, clientId }, { KEEPER_KEY: KEY })),
  )
  const isAuthenticated = async (keeper: (typeof keepers)[number]) =>
    (await keeper.json<{ authenticated: boolean }>('/api/auth/status')).body.authenticated
  const callers = [forkHelper('callers.ts'), forkHelper('callers.ts')]
  const call: Call = { ports: keepers.map((keeper) => Number(new URL(keeper.url).port)), callers: CALLERS / 2 }
  const slowestOfAll = async () => Math.max(...(await Promise.all(callers.map((child) => ask<number>(child, 'fire')))))
  const connect = () => Promise.all(callers.map((child: ChildProcess) => ask(child, call)))

  const waits: number[] = []
  const withoutExpiry: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const lease = await tokenLease(dir).acquire()
    await age(dir, ages.expired)
    await waitUntil(async () => !(await Promise.all(keepers.map(isAuthenticated))).includes(true), {
      what: 'every process had noticed that the token has run out',
    })
    await scene.tellYoto({ delay: YOTOS_OWN })
    const before = await scene.tellYoto<number>('count')
    await connect()
    await lease?.release()
    waits.push((await slowestOfAll()) - YOTOS_OWN)
    const refreshes = (await scene.tellYoto<number>('count')) - before
    if (refreshes !== 1) throw new Error(`${refreshes} refreshes instead of one`)
    await connect()
    withoutExpiry.push(await slowestOfAll())
  }
  await Promise.all(keepers.map((keeper) => keeper.kill()))

  const plain = spreadOf(withoutExpiry.slice(1)).median.toFixed(0)
  return [
    {
      what: '4,000 callers in 8 processes at expiry: slowest answer minus Yoto’s own time',
      beside: '',
      figures: `Yoto takes ${YOTOS_OWN} ms; slowest of as many callers with nothing to refresh: ${plain} ms`,
      result: spreadOf(waits.slice(1)),
      unit: 'ms',
      target: { comparison: '<=', value: 250 },
    },
  ]
}
