import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { heartbeatFile } from '../../storage/leases/heartbeat-file'
import { durableFiles } from '../../storage/stores/durable-files'
import { leaseConformance } from './lease-conformance'

const MODULE = new URL('../../storage/leases/heartbeat-file.ts', import.meta.url).href

leaseConformance('heartbeat file', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'lease-'))
  return {
    here: () => heartbeatFile(dir, '.yoto_token_lease'),
    other: () => heartbeatFile(dir, '.yoto_journal_lease'),
    elsewhere: { module: MODULE, open: 'heartbeatFile', args: [dir, '.yoto_token_lease'] },
    end: () => rm(dir, { recursive: true }),
  }
})

it('heartbeat file: is had on a disk that is full', async ({ skip, onTestFinished }) => {
  const dir = await mkdtemp(join(tmpdir(), 'lease-full-'))
  onTestFinished(() => rm(dir, { recursive: true }))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', dir], { encoding: 'utf8' })
  skip(mounted.status !== 0, `no small disk can be mounted here: ${(mounted.stderr || mounted.error?.message)?.trim()}`)
  onTestFinished(() => void execFileSync('umount', ['--lazy', dir]))

  await writeFile(join(dir, 'filler'), Buffer.alloc(1024 * 1024)).catch(() => {})
  await expect(durableFiles(dir).write('.yoto_refresh_token', 'token')).rejects.toThrow('ENOSPC')
  for (let term = 0; term < 5; term++) {
    const held = await heartbeatFile(dir, '.yoto_token_lease').acquire({ timeout: 1_000 })
    await held?.check()
    expect(await heartbeatFile(dir, '.yoto_token_lease').tryAcquire()).toBeUndefined()
    await held?.release()
  }
})
