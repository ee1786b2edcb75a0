import { open as openFile, unlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { type HeldLease, type Lease, StorageError } from '../../storage'

/** Another process that wants the lease, and does as it is told. */

export interface Elsewhere {
  /** A module, the function in it that opens the lease, and what that is called with. */
  module: string
  open: string
  args: unknown[]
}

export type Order = { elsewhere: Elsewhere } & (
  | { what: 'acquire' | 'check' | 'release' }
  /** The event loop stands still, as in a process that is busy. */
  | { what: 'block'; ms: number }
  /** So many contenders take the lease so many times each; the file shows whether somebody else is in. */
  | { what: 'contend'; contenders: number; times: number; file: string }
)

/** What came of it: the code of an error, or what was asked for. */
export type Result = { error: string } | { overlaps: number; terms: number } | { done: true }

let held: HeldLease | undefined

process.on('message', async (order: Order) => {
  process.send?.(
    await obey(order).catch((error): Result => ({ error: error instanceof StorageError ? error.code : String(error) })),
  )
})

async function obey(order: Order): Promise<Result> {
  const { module, open, args } = order.elsewhere
  const newLease = async (): Promise<Lease> => (await import(module))[open](...args)
  if (order.what === 'acquire') held = await (await newLease()).acquire()
  if (order.what === 'check') await held?.check()
  if (order.what === 'release') await held?.release()
  if (order.what === 'block') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, order.ms)
  if (order.what !== 'contend') return { done: true }

  let [overlaps, terms] = [0, 0]
  const contend = async (lease: Lease) => {
    for (let time = 0; time < order.times; time++) {
      const held = await lease.acquire({ timeout: 120_000 })
      try {
        await (await openFile(order.file, 'wx')).close()
        await sleep(Math.random() * 3)
        await held?.check()
        await unlink(order.file)
        terms++
      } catch {
        overlaps++
      }
      await held?.release()
    }
  }
  const leases = await Promise.all(Array.from({ length: order.contenders }, newLease))
  await Promise.all(leases.map(contend))
  return { overlaps, terms }
}
