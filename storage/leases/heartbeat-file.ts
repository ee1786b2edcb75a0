import { randomBytes } from 'node:crypto'
import { lstat, lutimes, readdir, readlink, symlink, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileError, StorageError } from '../errors'
import type { HeldLease, Lease } from '../lease'
import { waitBy } from './wait'

/** Milliseconds between two beats of a holder. */
const BEAT = 1_000
/** A holder whose beat has not been seen to change for this many milliseconds is taken for dead. */
const DEAD_AFTER = 5_000
/** Milliseconds between two looks of somebody who waits. */
const LOOK = 25
/** A look that comes later than this after the one before says more about the onlooker than about the holder. */
const LONGEST_LOOK = 1_000

/** A beat in 1970 says that the lease has been given back. */
const RELEASED = new Date(0)

/**
 * A lease over all processes on one folder.
 *
 * Each term is a symbolic link `<name>.<term>` whose target is the holder's random id, and whose modification time is its beat.
 * A term is won by creating the next link, which the file system grants to one process only; the link with the highest number is
 * the lease. So a takeover needs no lock of its own, a holder that slept through one finds a higher number, and a full disk
 * does not matter: a short link lives in its inode and needs no data block. (A directory does; proper-lockfile's takeover is also
 * a removal followed by a creation, and between the two there can be two.)
 *
 * A holder is dead when its beat stood still for five seconds of the onlooker's own monotonic clock: neither process ids nor
 * wall clocks prove anything. Time in which the onlooker itself was stopped does not count.
 */
export function heartbeatFile(dir: string, name: string): Lease {
  const id = randomBytes(16).toString('hex')
  const pathOf = (term: number) => join(dir, `${name}.${term}`)
  let observed = { term: 0, beat: -1, stillFor: 0, at: 0 }

  /** Oldest first. */
  async function terms(): Promise<number[]> {
    const files = (await readdir(dir)).filter((file) => file.startsWith(`${name}.`))
    const numbers = files.map((file) => Number(file.slice(name.length + 1)))
    return numbers.filter(Number.isSafeInteger).sort((a, b) => a - b)
  }

  async function latestTerm(): Promise<number> {
    return (await terms()).at(-1) ?? 0
  }

  /** Whether the holder of `term` has given it back or is dead. */
  async function isFree(term: number): Promise<boolean> {
    if (term === 0) return true
    const beat = await lstat(pathOf(term)).then((link) => link.mtimeMs, whenMissing(undefined))
    if (beat === undefined) return false // a newer term has replaced it: look again
    if (beat === RELEASED.getTime()) return true
    const now = performance.now()
    if (observed.term !== term || observed.beat !== beat) {
      observed = { term, beat, stillFor: 0, at: now }
    } else {
      observed.stillFor += Math.min(now - observed.at, LONGEST_LOOK)
      observed.at = now
    }
    return observed.stillFor >= DEAD_AFTER
  }

  async function tryAcquire(): Promise<HeldLease | undefined> {
    let held: HeldLease | undefined
    try {
      const term = await latestTerm()
      if (!(await isFree(term))) return undefined
      const ours = term + 1
      await symlink(id, pathOf(ours))
      held = hold(ours)
      // The term may have been won and ended by others between the look and the creation.
      if ((await latestTerm()) === ours) {
        await removeTermsBefore(ours)
        return held
      }
      await held.release()
      await unlink(pathOf(ours)).catch(() => {})
      return undefined
    } catch (error) {
      await held?.release() // or it would go on beating for nobody
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined
      throw fileError(error, `cannot take the lease in ${dir}`)
    }
  }

  /** Oldest first, so that whoever finds the next term missing and its own there knows that there never was a next one. */
  async function removeTermsBefore(term: number): Promise<void> {
    for (const old of await terms()) if (old < term) await unlink(pathOf(old)).catch(() => {})
  }

  async function isOurs(term: number): Promise<boolean> {
    try {
      const next = await lstat(pathOf(term + 1)).then(() => true, whenMissing(false))
      return !next && (await readlink(pathOf(term)).catch(whenMissing(undefined))) === id
    } catch (error) {
      throw fileError(error, `cannot look at the lease in ${dir}`)
    }
  }

  function hold(term: number): HeldLease {
    let beating = Promise.resolve()
    const timer = setInterval(() => {
      const now = new Date()
      beating = lutimes(pathOf(term), now, now).catch(() => {}) // check() tells whether it matters
    }, BEAT)
    timer.unref()
    return {
      async check() {
        if (!(await isOurs(term))) throw new StorageError('lease_lost', 'another instance has taken over')
      },
      async release() {
        clearInterval(timer)
        await beating // a beat under way would bring the lease back to life
        await lutimes(pathOf(term), RELEASED, RELEASED).catch(() => {})
      },
    }
  }

  return { tryAcquire, acquire: waitBy(tryAcquire, LOOK) }
}

/** For a path that may be missing: `value` instead of ENOENT; every other error is thrown. */
function whenMissing<T>(value: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT') return value
    throw error
  }
}
