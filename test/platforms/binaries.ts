import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const MODULES = fileURLToPath(new URL('node_modules', import.meta.url))

/**
 * A runtime as the package for this machine brings it: npm installs one of `scope`'s. The scripts that would copy it to where
 * `npx` looks are switched off in .npmrc.
 */
export function binary(scope: '@oven' | '@deno', path: string): string {
  const folder = join(MODULES, scope)
  const [found] = existsSync(folder) ? readdirSync(folder).filter((name) => existsSync(join(folder, name, path))) : []
  if (!found) throw new Error(`nothing of ${scope} is installed: npm ci --prefix test/platforms`)
  return join(folder, found, path)
}

/** The first line of what it says to `--version`. */
export async function versionOf(command: string): Promise<string> {
  const { stdout } = await promisify(execFile)(command, ['--version'])
  return stdout.split('\n')[0] ?? ''
}
