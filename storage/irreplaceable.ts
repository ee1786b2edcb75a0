import { dirname } from 'node:path'

/** What mends it that a file cannot be replaced by another. */

export const mends = {
  mounted: (path: string) =>
    `Mount the folder that it is in, not the file alone: \`-v /a/folder:${quoted(dirname(path))}\` with Docker.`,
  /** Append-only files refuse the same. */
  immutable: (path: string) => `Run \`chattr -i -a ${quoted(path)}\` as root.`,
  sticky: (path: string) =>
    `Run \`chown ${ownUser() ?? '<its user>'} ${quoted(path)}\` as root: in a sticky folder nobody else may replace it.`,
}

/**
 * The mend where a file can be neither replaced nor written.
 * @param replacing the code that one was refused with, and `writing` the other
 * @returns undefined where the code alone says it
 */
export function neitherHint(path: string, replacing: string, writing: string): string | undefined {
  if (writing === 'EPERM') return mends.immutable(path)
  if (replacing === 'EBUSY' || replacing === 'EXDEV') return mends.mounted(path)
  if (replacing !== 'EPERM') return undefined
  if (writing === 'ENOENT') return mends.immutable(dirname(path)) // it cannot be made
  return writing === 'EACCES' ? mends.sticky(path) : undefined
}

/** Undefined where the runtime does not tell, as Deno without --allow-sys. */
export function ownUser(): number | undefined {
  try {
    return process.getuid?.()
  } catch {
    return undefined
  }
}

/** As one word of a shell's command. */
export function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}
