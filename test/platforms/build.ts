import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SOURCES = ['nitro.config.ts', 'package.json', 'tsconfig.json', 'routes', 'scripts', 'server', 'storage']

/** Builds a preset in a copy of the sources, as presets write to different places, and gives back the folder. */
export async function build(preset: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), `keeper-${preset}-`))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  for (const source of SOURCES) cpSync(join(ROOT, source), join(folder, source), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  const nitropack = join(ROOT, 'node_modules/nitropack/dist/cli/index.mjs')
  await promisify(execFile)(process.execPath, [nitropack, 'build', '--preset', preset], { cwd: folder })
  return folder
}
