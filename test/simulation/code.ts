import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { compileFunction } from 'node:vm'
import { build, type Plugin } from 'esbuild'
import type * as Production from './production'

export type Code = typeof Production

/** What a process finds around it; everything by which one run could differ from another is in here. */
export interface Surroundings {
  setTimeout: (run: () => void, delay?: number) => unknown
  clearTimeout: (timer: unknown) => void
  setInterval: (run: () => void, delay?: number) => unknown
  clearInterval: (timer: unknown) => void
  performance: { now(): number }
  wall: () => number
  random: () => number
  /** In place of Node's modules and the client of Redis, by name. */
  modules: Record<string, unknown>
}

const NAMES = [
  'require',
  'exports',
  'module',
  'setTimeout',
  'clearTimeout',
  'setInterval',
  'clearInterval',
  'performance',
  'Date',
  'Math',
  'crypto',
] as const

/** A mistake that is made in the production code: in `file` (from the root) `from` becomes `to`. */
export interface Mutant {
  file: string
  from: string
  to: string
}

/**
 * Compiles the production code once. What is returned makes an instance of it: one process, with its own memory, clocks, timers and disk.
 * @param options.entry production.ts of this checkout, or of another one that is to be compared
 */
export async function loadCode({
  entry = process.env.CODE ?? fileURLToPath(new URL('production.ts', import.meta.url)),
  mutant,
}: {
  entry?: string
  mutant?: Mutant
} = {}): Promise<(around: Surroundings) => Code> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    external: ['node:*', 'ioredis', 'ofetch'],
    define: { 'import.meta.preset': '"node-server"', 'import.meta.dev': 'false' },
    sourcemap: 'inline',
    logLevel: 'error',
    plugins: mutant ? [mutating(mutant)] : [],
  })
  const script = compileFunction(outputFiles[0]?.text ?? '', [...NAMES], { filename: 'production.js' })

  return (around) => {
    const module = { exports: {} as Code }
    const modules: Record<string, unknown> = {
      'node:path': path,
      'node:crypto': {
        hash,
        randomBytes: (size: number) => Buffer.from(Array.from({ length: size }, () => around.random() * 256)),
      },
      ofetch: {},
      ...around.modules,
    }
    const given: Record<(typeof NAMES)[number], unknown> = {
      ...around,
      require: (name: string) => modules[name] ?? {}, // what is not simulated is not there
      exports: module.exports,
      module,
      Date: dateBy(around.wall),
      Math: Object.assign(Object.create(Math), { random: around.random }),
      crypto: { randomUUID: () => hash('sha256', String(around.random())).slice(0, 36), subtle: crypto.subtle },
    }
    script(...NAMES.map((name) => given[name]))
    return module.exports
  }
}

/** A Date whose present is the process's. */
function dateBy(wall: () => number): DateConstructor {
  class SimulatedDate extends Date {
    constructor(...given: [] | [number | string | Date]) {
      if (given.length === 0) super(wall())
      else super(given[0])
    }
    static override now = wall
  }
  return SimulatedDate as unknown as DateConstructor
}

function mutating({ file, from, to }: Mutant): Plugin {
  const path = fileURLToPath(new URL(`../../${file}`, import.meta.url))
  return {
    name: 'mutant',
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, async (loaded) => {
        if (loaded.path !== path) return undefined
        const parts = (await readFile(path, 'utf8')).split(from)
        if (parts.length !== 2) throw new Error(`not once in ${file}: ${from}`)
        return { contents: parts.join(to), loader: 'ts' }
      })
    },
  }
}
