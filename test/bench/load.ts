import type { Load, Result } from './load-child'
import { ask, forkHelper, type Program, serve } from './processes'
import { AUTHORIZATION } from './scene'

export type { Load, Result }

/** Until a process answers as fast as it will. */
const WARM_UP = { connections: 32, duration: 1 }

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

/**
 * One load after the other on a process that is started for them and is warm: of the same program one process may be faster than
 * another by a tenth, and stay so.
 */
export async function loadAnew<Name extends string>(
  program: Program,
  path: string,
  loads: Record<Name, Pick<Load, 'connections' | 'duration'>>,
): Promise<Record<Name, Result>> {
  const server = await serve(program)
  try {
    const target = { url: server.url + path, headers: AUTHORIZATION }
    await load({ ...target, ...WARM_UP })
    const results = {} as Record<Name, Result>
    for (const name of Object.keys(loads) as Name[]) results[name] = await load({ ...target, ...loads[name] })
    return results
  } finally {
    await server.stop()
  }
}
