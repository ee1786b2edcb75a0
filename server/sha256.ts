import { hash } from 'node:crypto'

/**
 * In hexadecimal. Every request comes by here; every platform has this module of Node's, and Web Crypto would go through a thread for
 * each, at more than what all the rest of an answer costs. Node makes a buffer more slowly than it hashes.
 */
export function sha256(text: string): string {
  return hash('sha256', text, 'hex')
}
