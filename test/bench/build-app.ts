import { execFile } from 'node:child_process'
import { cpSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { temporaryFolder } from './processes'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const APPS = fileURLToPath(new URL('apps', import.meta.url))

/** Builds one of the apps to compare with, with the same Nitro, in a copy, and gives back the folder of its output. */
export async function buildApp(
  name: 'bare' | 'guarded' | 'proxy',
  options: { preset?: string; store?: string } = {},
): Promise<string> {
  const folder = temporaryFolder()
  cpSync(APPS, folder, { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  const nitropack = join(ROOT, 'node_modules/nitropack/dist/cli/index.mjs')
  const { preset = 'node-server', store = '' } = options
  const env = { ...process.env, BENCH_STORE: store }
  await promisify(execFile)(process.execPath, [nitropack, 'build', '--preset', preset], {
    cwd: join(folder, name),
    env,
  })
  return join(folder, name, '.output/server')
}
