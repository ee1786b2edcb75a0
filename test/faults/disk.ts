import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A file system of 64 kB, so that a disk can be full or read-only at the wrong moment; and single files that are mounted. */

const mounted = new Set<string>()

export interface SmallDisk {
  dir: string
  /** Until nothing more can be written. */
  fill(): void
  free(): void
  readOnly(yes: boolean): void
  cover(other: string): () => void
  unmount(): void
}

/** Mounts one at `dir`; to be unmounted by whoever has asked for it. */
export function mountSmallDisk(dir: string, size = 'size=64k'): SmallDisk {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `${size},mode=755`, 'tmpfs', dir], { stdio: 'pipe' })
  mounted.add(dir)
  const filler = join(dir, 'filler')
  return {
    dir,
    fill() {
      const file = openSync(filler, 'w')
      try {
        for (;;) writeSync(file, Buffer.alloc(4096))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      } finally {
        closeSync(file)
      }
    },
    free: () => rmSync(filler),
    readOnly: (yes) => remount(dir, yes ? 'ro' : 'rw'),
    /** Lays it over another folder too, as it is, until the returned function is called. */
    cover(other) {
      execFileSync('mount', ['--bind', dir, other], { stdio: 'pipe' })
      mounted.add(other)
      return () => unmount(other)
    },
    unmount: () => unmount(dir),
  }
}

/** Mounts `file` at `at`, an empty file, alone: as `docker run -v file:at` does. Returns what unmounts it. */
export function mountFile(file: string, at: string, { readOnly = false } = {}): () => void {
  writeFileSync(at, '')
  execFileSync('mount', ['--bind', file, at], { stdio: 'pipe' })
  mounted.add(at)
  if (readOnly) execFileSync('mount', ['-o', 'remount,bind,ro', at], { stdio: 'pipe' })
  return () => unmount(at)
}

/** Refused as busy for as long as a file in it is open for writing, as the journal's or a lease's may just be. */
function remount(dir: string, mode: 'ro' | 'rw'): void {
  for (let attempt = 1; ; attempt++) {
    try {
      execFileSync('mount', ['-o', `remount,${mode}`, dir], { stdio: 'pipe' })
      return
    } catch (error) {
      if (attempt === 500 || !/busy/.test(String((error as { stderr?: Buffer }).stderr))) throw error
    }
  }
}

function unmount(dir: string): void {
  if (mounted.delete(dir)) execFileSync('umount', ['--lazy', dir], { stdio: 'pipe' })
}

process.on('exit', () => {
  for (const dir of mounted) execFileSync('umount', ['--lazy', dir], { stdio: 'pipe' })
})

/** Mounting asks for root. */
export const canMount = (() => {
  const dir = mkdtempSync(join(tmpdir(), 'mount-'))
  try {
    mkdirSync(join(dir, 'disk'))
    mountSmallDisk(join(dir, 'disk')).unmount()
    return true
  } catch {
    return false
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})()
