import { access, constants, open, realpath, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { mends, ownUser, quoted } from '../irreplaceable'
import type { Finding } from './check'
import { mountOf, readMounts } from './mounts'

interface Obstacle {
  why: string
  mend: string
}

/**
 * Whether the files that are there can be replaced by others, as far as that can be told without doing so: a look does not hold the
 * lease, and rename(2) of a file over itself does nothing and says yes.
 */
export async function replaceable(dir: string, keys: readonly string[]): Promise<Finding | undefined> {
  const found = await Promise.all(keys.map((key) => lookAt(dir, key)))
  const bad = found.filter((one) => one !== undefined)
  if (bad.length === 0) return undefined
  return {
    ok: false,
    message: bad.map(({ message }) => message).join(' '),
    hint: [...new Set(bad.map(({ hint }) => hint))].join(' '),
  }
}

async function lookAt(dir: string, key: string): Promise<{ message: string; hint: string } | undefined> {
  const path = await realpath(join(dir, key)).catch(() => undefined)
  if (path === undefined || !(await stat(path)).isFile()) return undefined // other checks tell of those
  const writing = await refusalOf(() => open(path, 'r+').then((file) => file.close()))
  const obstacle = await obstacleOf(path, writing)
  if (!obstacle) return undefined
  const outcome = writing
    ? 'It cannot be written either, so no refresh can be made.'
    : (await refusalToWrite(dir))
      ? 'It is written in place, and a crash at that moment could tear it: nothing can be kept beside it.'
      : 'It is written in place: a crash at that moment could tear it, until the next start mends it.'
  return { message: `${key} cannot be replaced, as ${obstacle.why}. ${outcome}`, hint: obstacle.mend }
}

async function obstacleOf(path: string, writing: string | undefined): Promise<Obstacle | undefined> {
  if (mountOf(path, await readMounts()).point === path) {
    return { why: 'it is mounted by itself', mend: mends.mounted(path) }
  }
  // Said of a file whose mode is not even asked (chattr(1)).
  if (writing === 'EPERM') return { why: 'it is immutable', mend: mends.immutable(path) }
  const folder = dirname(path)
  const entering = await refusalToWrite(folder)
  if (entering === 'EPERM') return { why: `${folder} is immutable`, mend: mends.immutable(folder) }
  if (entering) {
    const mend = `Give the service the right to write in ${quoted(folder)}, and mount it writable.`
    return { why: `nothing can be made in ${folder} (${entering})`, mend }
  }
  if (await belongsToOthers(path, folder)) {
    return { why: 'it belongs to somebody else, in a sticky folder', mend: mends.sticky(path) }
  }
  return undefined
}

/** unlink(2), EPERM: the folder is sticky, and neither it nor the file is ours, nor are we root. */
async function belongsToOthers(path: string, folder: string): Promise<boolean> {
  const user = ownUser()
  const [file, parent] = await Promise.all([stat(path), stat(folder)])
  return (parent.mode & 0o1000) !== 0 && !!user && user !== file.uid && user !== parent.uid
}

/** Deno without --allow-sys tells nobody who the user is, and its access() ends the process over that, past its own promise. */
async function refusalToWrite(folder: string): Promise<string | undefined> {
  if (ownUser() === undefined) return undefined
  return refusalOf(() => access(folder, constants.W_OK))
}

/** The code of its error. */
async function refusalOf(trying: () => Promise<unknown>): Promise<string | undefined> {
  return trying().then(
    () => undefined,
    (error) => error.code ?? error.name,
  )
}
