import { readdir, realpath, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { fileError, sentence } from '../errors'
import { ownUser, quoted } from '../irreplaceable'
import type { Check, Finding } from './check'
import { mountOf, readMounts } from './mounts'
import { replaceable } from './replaceable'

/** What can be wrong with a folder of files, beside that it cannot be written. */

export interface FolderOptions {
  dir: string
  /** Files last on a mounted volume only: the container's own disk goes with it. */
  needsVolume: boolean
  /** The files that the sign-in hangs on. */
  leasedKeys: readonly string[]
}

/** File systems that end with what they are in. */
const FLEETING: Record<string, string> = {
  overlay: 'the container',
  aufs: 'the container',
  tmpfs: 'memory',
  ramfs: 'memory',
}

/** All that is kept, twice over, has less than 1 MiB; the rest is for what else writes there. */
const LEAST_ROOM = 5 * 1024 * 1024
const LEAST_INODES = 50

export function folderChecks(options: FolderOptions): Check[] {
  const { dir, leasedKeys } = options
  const worded = (what: string, look: () => Promise<Finding | undefined>) => () => look().catch((e) => failed(e, what))
  return [
    { name: 'volume', look: worded(`cannot tell what ${dir} is on`, () => volume(options)) },
    { name: 'room', look: worded(`cannot tell how much room ${dir} has`, () => room(dir)) },
    { name: 'file_modes', look: worded(`cannot look at the files in ${dir}`, () => fileModes(dir)) },
    { name: 'replaceable', look: worded(`cannot look at the files in ${dir}`, () => replaceable(dir, leasedKeys)) },
  ]
}

function failed(error: unknown, what: string): Finding {
  const { message, hint } = fileError(error, what)
  return { ok: false, message: sentence(message), hint }
}

async function volume({ dir, needsVolume }: FolderOptions): Promise<Finding | undefined> {
  const path = await realpath(dir)
  const table = await readMounts()
  if (table === '' && !needsVolume) return undefined
  const { point, type } = mountOf(path, table)
  if (needsVolume) {
    if (point !== '/') return { ok: true, message: `The files are in ${dir}, on the volume mounted at ${point}.` }
    return {
      ok: false,
      message: `${dir} is on the container's own disk: the sign-in would be gone at the next deployment.`,
      hint:
        'Add a volume with `railway volume add --mount-path /data`; if `railway volume list` shows one, remove DATA_DIR. ' +
        'Then deploy again.',
    }
  }
  const where = FLEETING[type]
  if (!where) return { ok: true, message: `The files are in ${dir}, on the disk mounted at ${point}.` }
  return {
    ok: false,
    message: `${dir} is in ${where}: the sign-in would be gone with that.`,
    hint: `Mount a volume or a folder of the machine at ${quoted(dir)}, or set DATA_DIR to a folder on a disk.`,
  }
}

async function room(dir: string): Promise<Finding | undefined> {
  const found = await statfs(dir).catch((error) => {
    if (error.name !== 'NotCapable') throw error
  })
  if (!found) return undefined // Deno without --allow-sys=statfs
  const { bavail, bsize, files, ffree } = found
  const free = bavail * bsize
  if (free < LEAST_ROOM) {
    return {
      ok: false,
      message: `The disk is almost full: ${inWords(free)} are left in ${dir}, and a renewed token might not be saved.`,
      hint: `Free some room (\`du -ah ${quoted(dir)} | sort -h\` shows what takes it), or enlarge the volume.`,
    }
  }
  // Some file systems make inodes as they go, and say 0 (btrfs).
  if (files > 0 && ffree < LEAST_INODES) {
    return {
      ok: false,
      message: `The disk holds almost as many files as it can: there is room for ${ffree} more in ${dir}.`,
      hint: `Remove files that are not needed (\`df -i ${quoted(dir)}\` shows how many there are).`,
    }
  }
  return { ok: true, message: `${inWords(free)} are free in ${dir}.` }
}

function inWords(bytes: number): string {
  const [size, unit] = bytes >= 1e9 ? [bytes / 1e9, 'GB'] : bytes >= 1e6 ? [bytes / 1e6, 'MB'] : [bytes / 1e3, 'kB']
  return `${Math.floor(size * 10) / 10} ${unit}`
}

/** Whoever else may read the token may use it, and only its owner may mend that. */
async function fileModes(dir: string): Promise<Finding> {
  const user = ownUser()
  const open: string[] = []
  const foreign: string[] = []
  for (const path of await statePaths(dir)) {
    const found = await stat(path).catch(() => undefined)
    if (!found?.isFile()) continue // gone meanwhile; or a directory, which the sign-in's own check tells of
    if ((found.mode & 0o777) !== 0o600) open.push(path)
    if (user !== undefined && found.uid !== user) foreign.push(path)
  }
  if (open.length + foreign.length === 0) {
    return { ok: true, message: `Only this service's user may read and write its files in ${dir}.` }
  }
  const commands = [
    foreign.length > 0 && `chown ${user} ${foreign.map(quoted).join(' ')}`,
    open.length > 0 && `chmod 600 ${open.map(quoted).join(' ')}`,
  ]
  const wrong = [...new Set([...open, ...foreign])]
  return {
    ok: false,
    message: `Not for this service's user alone, or not its own: ${wrong.join(', ')}.`,
    hint: `Run \`${commands.filter(Boolean).join(' && ')}\`, as root where it is refused.`,
  }
}

/** A lease is a symbolic link without anything secret; what is on its way has the right mode from its beginning. */
async function statePaths(dir: string): Promise<string[]> {
  const names = (await readdir(dir)).filter((name) => /^\.yoto_/.test(name) && !/_lease\.|\.tmp$/.test(name))
  return names.sort().map((name) => join(dir, name))
}
