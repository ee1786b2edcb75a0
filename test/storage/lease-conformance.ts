import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, type TestContext } from 'vitest'
import type { Lease } from '../../storage'
import { waitUntil } from '../support/wait-until'
import type { Elsewhere, Order, Result } from './lease-child'

export interface LeaseUnderTest {
  /** A contender for the lease in this process; every call makes another. */
  here(): Lease
  /** Another lease on the same store. */
  other(): Lease
  /** How a contender is made in another process; or why there can be none, and what is about it is shown as skipped. */
  elsewhere: Elsewhere | { none: string }
  end(): void | Promise<void>
}

type Tell = Order extends infer One ? (One extends Order ? Omit<One, 'elsewhere'> : never) : never

const MINUTE = { timeout: 60_000 }

/** What every lease must do, over processes and their deaths. */
export function leaseConformance(name: string, make: () => LeaseUnderTest | Promise<LeaseUnderTest>): void {
  describe(`${name}: what every lease does`, () => {
    async function open({ onTestFinished }: TestContext): Promise<LeaseUnderTest> {
      const lease = await make()
      onTestFinished(() => lease.end())
      return lease
    }

    /** Starts another process and lets it take the lease. */
    async function holder(context: TestContext, { elsewhere }: LeaseUnderTest) {
      const process = startProcess(context, elsewhere)
      expect(await process.tell({ what: 'acquire' })).toEqual({ done: true })
      return process
    }

    it.concurrent('is taken, not granted twice, and given back', MINUTE, async (context) => {
      const { here } = await open(context)
      const [one, two] = [here(), here()]
      const held = await one.acquire()
      await held?.check()
      expect(await two.tryAcquire()).toBeUndefined()
      expect(await one.tryAcquire(), 'not to whoever holds it either').toBeUndefined()
      await held?.release()
      const next = await two.tryAcquire()
      await next?.check()
      await expect(held?.check()).rejects.toMatchObject({ code: 'lease_lost' })
      await held?.release()
      await next?.check()
      expect(await one.tryAcquire()).toBeUndefined()
      await next?.release()
    })

    it.concurrent('can be taken again and again', MINUTE, async (context) => {
      const { here } = await open(context)
      const lease = here()
      for (let term = 0; term < 20; term++) {
        const held = await lease.acquire()
        await held?.check()
        await held?.release()
      }
    })

    it.concurrent('is waited for, as long as it makes sense', MINUTE, async (context) => {
      const { here } = await open(context)
      const held = await here().acquire()
      const began = performance.now()
      await expect(here().acquire({ timeout: 300 })).rejects.toMatchObject({ code: 'unavailable' })
      expect(performance.now() - began).toBeGreaterThan(250)
      let asked = 0
      expect(await here().acquire({ unless: async () => ++asked === 3 })).toBeUndefined()
      const waiting = here().acquire()
      await held?.release()
      await (await waiting)?.release()
    })

    it.concurrent('has nothing to do with another one', MINUTE, async (context) => {
      const { here, other } = await open(context)
      const held = await here().acquire()
      const otherHeld = await other().tryAcquire()
      expect(otherHeld).toBeDefined()
      await otherHeld?.release()
      await held?.check()
      await held?.release()
    })

    it.concurrent('is one over two processes', MINUTE, async (context) => {
      const lease = await open(context)
      const process = await holder(context, lease)
      expect(await lease.here().tryAcquire()).toBeUndefined()
      expect(await process.tell({ what: 'release' })).toEqual({ done: true })
      const held = await lease.here().acquire({ timeout: 1_000 })
      expect(await process.tell({ what: 'check' })).toEqual({ error: 'lease_lost' })
      await held?.release()
    })

    it.concurrent('is free some seconds after its holder was killed', MINUTE, async (context) => {
      const lease = await open(context)
      const process = await holder(context, lease)
      await process.kill()
      const began = performance.now()
      const held = await lease.here().acquire()
      const took = performance.now() - began
      await held?.check()
      await held?.release()
      console.log(`${name}: free ${(took / 1000).toFixed(1)} s after the holder was killed`)
      expect(took).toBeGreaterThan(3_000)
      expect(took).toBeLessThan(20_000)
    })

    it.concurrent('stays with a holder that is merely slow', MINUTE, async (context) => {
      const lease = await open(context)
      const process = await holder(context, lease)
      const contender = lease.here()
      let isBlocked = true
      const blocked = process.tell({ what: 'block', ms: 3_000 }).finally(() => {
        isBlocked = false
      })
      const tries: unknown[] = []
      await waitUntil(
        async () => {
          tries.push(await contender.tryAcquire())
          return !isBlocked
        },
        { what: 'the holder went on' },
      )
      expect(await blocked).toEqual({ done: true })
      expect(await process.tell({ what: 'check' })).toEqual({ done: true })
      expect(tries.every((held) => held === undefined)).toBe(true)
    })

    it.concurrent('stays with its holder for longer than with a dead one', MINUTE, async (context) => {
      const { here } = await open(context)
      const held = await here().acquire()
      await expect(here().acquire({ timeout: 8_000 })).rejects.toMatchObject({ code: 'unavailable' })
      await held?.check()
      await held?.release()
    })

    it.concurrent('is lost by a holder that was stopped for long', MINUTE, async (context) => {
      const lease = await open(context)
      const process = await holder(context, lease)
      process.signal('SIGSTOP')
      const held = await lease.here().acquire()
      process.signal('SIGCONT')
      expect(await process.tell({ what: 'check' })).toEqual({ error: 'lease_lost' })
      await process.tell({ what: 'release' })
      await held?.check()
      expect(await lease.here().tryAcquire(), 'the woken one has given nothing back').toBeUndefined()
      await held?.release()
    })

    it('has one holder at a time among 50 contenders in 4 processes', { timeout: 180_000 }, async (context) => {
      const lease = await open(context)
      const dir = await mkdtemp(join(tmpdir(), 'contenders-'))
      context.onTestFinished(() => rm(dir, { recursive: true }))
      const contention = { what: 'contend', times: 4, file: join(dir, 'somebody-is-in') } as const
      const began = performance.now()
      const results = await Promise.all(
        [13, 13, 12, 12].map((contenders) =>
          startProcess(context, lease.elsewhere).tell({ ...contention, contenders }),
        ),
      )
      const took = performance.now() - began
      expect(results).toEqual([13, 13, 12, 12].map((contenders) => ({ overlaps: 0, terms: contenders * 4 })))
      console.log(`${name}: 50 contenders in 4 processes, 200 terms in ${(took / 1000).toFixed(1)} s, 0 overlaps`)
    })
  })
}

function startProcess({ skip, onTestFinished }: TestContext, elsewhere: LeaseUnderTest['elsewhere']) {
  if ('none' in elsewhere) skip(elsewhere.none)
  const child: ChildProcess = fork(fileURLToPath(new URL('lease-child.ts', import.meta.url)), {
    execArgv: ['--import', 'tsx'],
  })
  const exited = once(child, 'exit')
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  onTestFinished(kill)
  return {
    async tell(order: Tell): Promise<Result> {
      child.send({ ...order, elsewhere })
      const [result] = (await Promise.race([
        once(child, 'message'),
        exited.then(() => {
          throw new Error('the other process ended early')
        }),
      ])) as [Result]
      return result
    },
    signal: (signal: NodeJS.Signals) => child.kill(signal),
    kill,
  }
}
