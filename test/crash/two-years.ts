import { createHook } from 'node:async_hooks'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { readConfig } from '../../server/config'
import { createJournal, JOURNAL } from '../../server/keeper/journal'
import { createKeeper } from '../../server/keeper/keeper'
import { REFRESH_TOKEN, TOKEN_SET } from '../../server/keeper/records'
import { yotoOf } from '../../server/yoto/yoto'
import { openFiles } from '../../storage/files'
import { mounted } from '../support/mounted'
import { waitUntil } from '../support/wait-until'

/** The keeper over real files, leases and HTTP, alone in a process of its own, with clocks that jump from refresh to refresh. */

export interface Order {
  url: string
  clientId: string
  refreshToken: string
  rotations: number
}

export interface Report {
  rotations: number
  /** Every 25 rotations, after a collection. */
  heap: number[]
  mostFiles: number
  mostBytes: number
  journalEvents: number
  /** Before the keeper was made, and after it was closed. */
  descriptors: [number, number]
  timers: [number, number]
  resources: [string[], string[]]
}

const HALF_A_DAY = 12 * 3_600_000

const timers = new Set<number>()
createHook({
  init: (id, type) => void (type === 'Timeout' && timers.add(id)),
  destroy: (id) => void timers.delete(id),
}).enable()

process.once('message', async (order: Order) => {
  const report = await run(order)
  process.send?.(report, () => process.exit(0))
})

async function run({ url, clientId, refreshToken, rotations }: Order): Promise<Report> {
  const dir = mkdtempSync(join(tmpdir(), 'keeper-two-years-'))
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }))
  const whatIsOpen = () => ({
    descriptors: readdirSync('/proc/self/fd').length,
    timers: timers.size,
    resources: process.getActiveResourcesInfo().sort(),
  })
  const before = whatIsOpen()

  let passed = 0
  const clock = { wall: () => Date.now() + passed, monotonic: () => performance.now() + passed }
  const backend = openFiles({ dir, needsVolume: false, leasedKeys: [REFRESH_TOKEN, TOKEN_SET] })
  const store = mounted(backend.store)
  const journal = createJournal(store, backend.lease('journal'), () => {})
  const config = readConfig({ YOTO_CLIENT_ID: clientId, YOTO_AUTH_URL: url, DATA_DIR: dir }, dir)
  const keeper = createKeeper({
    config,
    store,
    lease: backend.lease('token'),
    journal,
    clock,
    yoto: yotoOf(config, clock.wall),
    watchInterval: backend.watchInterval,
    removeLeftovers: backend.removeLeftovers,
  })

  await store.write(REFRESH_TOKEN, refreshToken)
  await keeper.start()
  let { accessToken } = await keeper.accessToken()
  const heap: number[] = []
  let [mostFiles, mostBytes] = [0, 0]
  for (let rotation = 2; rotation <= rotations; rotation++) {
    passed += HALF_A_DAY
    await keeper.tick()
    const next = await keeper.accessToken()
    if (next.accessToken === accessToken) throw new Error(`rotation ${rotation} brought nothing new`)
    accessToken = next.accessToken

    const sizes = readdirSync(dir).map((name) => statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0)
    mostFiles = Math.max(mostFiles, sizes.length)
    mostBytes = Math.max(
      mostBytes,
      sizes.reduce((sum, size) => sum + size, 0),
    )
    if (rotation % 25 === 0) {
      await journal.flush()
      await turn()
      gc?.()
      heap.push(process.memoryUsage().heapUsed)
    }
  }
  await keeper.close()
  await journal.flush()

  // Connections that are kept for the next request, and time limits of the last ones, end by themselves within seconds.
  const isAsBefore = async () => {
    await turn() // the end of the timer that has just waited here is told a turn later
    const now = whatIsOpen()
    return now.descriptors <= before.descriptors && now.timers <= before.timers
  }
  await waitUntil(isAsBefore, { what: 'all was closed' }).catch(() => {})
  const after = whatIsOpen()
  return {
    rotations,
    heap,
    mostFiles,
    mostBytes,
    journalEvents: JSON.parse(readFileSync(join(dir, JOURNAL), 'utf8')).length,
    descriptors: [before.descriptors, after.descriptors],
    timers: [before.timers, after.timers],
    resources: [before.resources, after.resources],
  }
}
