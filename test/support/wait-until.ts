import { setTimeout as sleep } from 'node:timers/promises'

type Truthy<T> = Exclude<T, false | 0 | '' | null | undefined>

/** Asks again every 25 ms until the answer is truthy: a test waits for what it needs, never for a guessed time. */
export async function waitUntil<T>(
  condition: () => T | Promise<T>,
  { timeout = 30_000, what }: { timeout?: number; what: string },
): Promise<Truthy<T>> {
  const deadline = performance.now() + timeout
  for (;;) {
    const value = await condition()
    if (value) return value as Truthy<T>
    if (performance.now() > deadline) throw new Error(`waited ${timeout} ms in vain until ${what}`)
    await sleep(25)
  }
}
