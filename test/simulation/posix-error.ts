import { constants } from 'node:os'

const WORDS = {
  EACCES: 'permission denied',
  EBADF: 'bad file descriptor',
  EBUSY: 'resource busy or locked',
  EEXIST: 'file already exists',
  EINVAL: 'invalid argument',
  EIO: 'i/o error',
  EISDIR: 'illegal operation on a directory',
  ELOOP: 'too many symbolic links encountered',
  ENAMETOOLONG: 'name too long',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'not a directory',
  ENOTEMPTY: 'directory not empty',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
  EXDEV: 'cross-device link not permitted',
} as const

export type Code = keyof typeof WORDS

/** What the file system says before it is known which call asked. */
export class Refusal {
  constructor(
    readonly code: Code,
    /** Where it is another than was asked for. */
    readonly path?: string,
  ) {}
}

export function refuse(code: Code, path?: string): never {
  throw new Refusal(code, path)
}

/** An error as Node makes it of a system call: with `code`, `errno`, `syscall`, `path`, `dest`, and without a stack. */
export function posixError(code: Code, syscall: string, path?: string, dest?: string): NodeJS.ErrnoException {
  const names = path === undefined ? '' : dest === undefined ? ` '${path}'` : ` '${path}' -> '${dest}'`
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0 // most of what a simulated process costs would be stacks
  const error: NodeJS.ErrnoException & { dest?: string } = new Error(`${code}: ${WORDS[code]}, ${syscall}${names}`)
  Error.stackTraceLimit = stackTraceLimit
  error.errno = -constants.errno[code]
  error.code = code
  error.syscall = syscall
  if (path !== undefined) error.path = path
  if (dest !== undefined) error.dest = dest
  return error
}
