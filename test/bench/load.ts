import type { Load, Result } from './load-child'
import { ask, forkHelper } from './processes'

export type { Load, Result }

let generator: ReturnType<typeof forkHelper> | undefined

/** @throws Error if anything but a good answer came: what is measured then is something else */
export async function load(what: Load): Promise<Result> {
  generator ??= forkHelper('load-child.ts')
  const result = await ask<Result>(generator, what)
  if (result.bad > 0 || result.answers === 0) {
    throw new Error(`${what.url}: ${result.bad} of ${result.answers + result.bad} answers were not good`)
  }
  return result
}
