import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { inMemoryLeases } from '../../storage/leases/in-memory'
import { leaseConformance } from './lease-conformance'

leaseConformance('in memory', () => {
  const lease = inMemoryLeases()
  return {
    here: () => lease('token'),
    other: () => lease('journal'),
    elsewhere: { none: 'all who want it share one memory' },
    end: () => {},
  }
})

it('in memory: has one holder at a time among 50 contenders', async () => {
  const lease = inMemoryLeases()
  let [inside, terms] = [0, 0]
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      for (let time = 0; time < 4; time++) {
        const held = await lease('token').acquire()
        expect(++inside).toBe(1)
        await sleep(Math.random() * 3)
        await held?.check()
        inside--
        terms++
        await held?.release()
      }
    }),
  )
  expect(terms).toBe(200)
})
