import { expect, it, vi } from 'vitest'
import { heartbeatFile } from '../../storage/leases/heartbeat-file'
import { durableFiles } from '../../storage/stores/durable-files'
import { leaseConformance } from '../storage/lease-conformance'
import { storeConformance } from '../storage/store-conformance'
import { immediateCaller } from './caller'
import { createDisk, type Disk } from './disk'
import { createRandom } from './random'

/** The production code over the simulated disk: what it is built on must not show. */
const { now } = vi.hoisted(() => ({ now: {} as { promises: object; sync: object } }))

/** The module's own names, each taken from the disk of the moment where that has it. */
function overlay<T extends object>(original: T, part: 'promises' | 'sync'): T {
  const names = Object.keys(original).filter((name) => name !== 'default')
  const overDisk = (name: string) => {
    const real: unknown = original[name as keyof T]
    if (typeof real !== 'function' || /^[A-Z]/.test(name)) return real
    return (...args: unknown[]) => ((now[part][name as never] ?? real) as (...args: unknown[]) => unknown)(...args)
  }
  return Object.fromEntries(names.map((name) => [name, overDisk(name)])) as T
}
vi.mock('node:fs', async (original) => overlay(await original<object>(), 'sync'))
vi.mock('node:fs/promises', async (original) => overlay(await original<object>(), 'promises'))

function mount(seed = 1): Disk {
  const disk = createDisk(createRandom(seed))
  const caller = immediateCaller(Date.now)
  now.promises = disk.promises(caller)
  now.sync = disk.sync(caller)
  return disk
}

storeConformance('durable files on a simulated disk', () => {
  const { dir } = mount()
  return { store: durableFiles(dir), end() {} }
})

it('durable files on a simulated disk: a value that was written is there after a loss of power', async () => {
  for (let seed = 0; seed < 200; seed++) {
    const disk = mount(seed)
    const store = durableFiles(disk.dir)
    await store.write('.yoto_refresh_token', 'one')
    disk.powerLoss()
    expect(disk.take('.yoto_refresh_token')).toBe('one')
    await store.write('.yoto_refresh_token', 'two')
    disk.faults.flush = 'fails'
    await expect(store.write('.yoto_refresh_token', 'three')).rejects.toThrow('EIO')
    disk.powerLoss()
    expect(disk.take('.yoto_refresh_token')).toBe('two')
  }
})

const { dir } = mount()
let leases = 0
leaseConformance('heartbeat file on a simulated disk', () => {
  const name = `.yoto_${++leases}_lease`
  return {
    here: () => heartbeatFile(dir, name),
    other: () => heartbeatFile(dir, `.yoto_other_${name}`),
    elsewhere: { none: 'a simulated disk is in one process' },
    end() {},
  }
})
