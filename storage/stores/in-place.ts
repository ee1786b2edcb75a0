import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'

/**
 * Files that cannot be replaced: what is to be in them is written into them.
 *
 * A crash may then leave a mix of old and new. The longer of the two is met with white space, which token and JSON do not mind: no byte
 * of the value is ever missing, so only what the disk writes in several pieces (of 512 bytes at least) can be torn. For that, a journal of
 * both values lies beside the file meanwhile, and says whether what is found is such a mix, and what it was to become.
 */

/** What a file that cannot be removed either holds afterwards: white space, so that others find no token in it. */
const REMOVED = '\v'

const PADDING = '\n'

/** What is in a file, as the store has it. */
export function valueIn(text: string): string | null {
  return /^\v+$/.test(text) ? null : text
}

/**
 * Writes into a file, flushed when it returns. Synchronous: nothing of this process runs between the comparison and the writing.
 * Where it throws, the file holds what it held, unless the disk failed it then too, or failed to flush.
 *
 * @param value null: as if it were removed
 * @param compare is shown what is there, and may throw
 */
export function writeInPlace(path: string, value: string | null, compare: (current: string) => void): void {
  const file = openSync(path, 'r+')
  try {
    const before = readFileSync(path)
    compare(before.toString('utf8'))
    const after = Buffer.from(value ?? REMOVED)
    const padding = Buffer.alloc(Math.max(before.length, after.length), value === null ? REMOVED : PADDING)
    try {
      if (before.length < after.length) {
        writeAll(file, padding.subarray(before.length), before.length)
        fsyncSync(file)
      }
      writeAll(file, Buffer.concat([after, padding.subarray(after.length)]), 0)
    } catch (error) {
      putBack(file, before)
      throw error
    }
    try {
      fsyncSync(file)
    } finally {
      ftruncateSync(file, after.length) // also where the flush failed: whoever repeats it is to find the value, to the byte
    }
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

function putBack(file: number, before: Buffer): void {
  try {
    writeAll(file, before, 0)
    ftruncateSync(file, before.length)
  } catch {
    // The journal has it.
  }
}

function writeAll(file: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(file, bytes, done, bytes.length - done, position + done)
  }
}

/** What a crash over a write needs to be made good. */
export interface Journal {
  before: string
  after: string
}

/** Undefined where it was cut itself: the write it is of had not begun. */
export function parseJournal(text: string): Journal | undefined {
  try {
    const { before, after } = JSON.parse(text)
    return typeof before === 'string' && typeof after === 'string' ? { before, after } : undefined
  } catch {
    return undefined
  }
}

/** Whether the write was cut short, or did not begin, and nobody has put anything there since: then all bytes are of the one or the other. */
export function isUnfinished(found: string, journal: Journal): boolean {
  const [there, before, after] = [Buffer.from(found), Buffer.from(journal.before), Buffer.from(journal.after)]
  if (there.equals(after) || there.length < Math.min(before.length, after.length)) return false
  if (there.length > Math.max(before.length, after.length)) return false
  const padding = PADDING.charCodeAt(0)
  return there.every((byte, at) => byte === before[at] || byte === after[at] || byte === padding)
}
