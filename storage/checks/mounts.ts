import { readFile } from 'node:fs/promises'

/** What is mounted, as mountOf reads it; empty where that is not Linux, or Deno, which shows nobody but --allow-all what is there. */
export function readMounts(): Promise<string> {
  return readFile('/proc/self/mountinfo', 'utf8').catch(() => '')
}

/**
 * The innermost mount that `path` lies in: where, and of which file system (proc_pid_mountinfo(5): the fifth field, with white space in
 * octal, and the first after the dash). Of two in one place the later lies over the other.
 */
export function mountOf(path: string, mountinfo: string): { point: string; type: string } {
  return mountinfo
    .split('\n')
    .map((line) => ({ point: unescaped(line.split(' ')[4] ?? ''), type: line.split(' - ')[1]?.split(' ')[0] ?? '' }))
    .filter(({ point }) => point !== '' && (point === '/' || path === point || path.startsWith(`${point}/`)))
    .reduce((innermost, one) => (one.point.length >= innermost.point.length ? one : innermost), {
      point: '/',
      type: '',
    })
}

function unescaped(field: string): string {
  return field.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
}
