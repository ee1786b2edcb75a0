import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, it } from 'vitest'
import { build } from './build'
import { CHECKS, type Check, type Need, type Start } from './list'
import type { Platform, Running } from './platform'
import { startStore } from './stores'

// The list of list.ts over every platform that has an adapter here; table.ts prints what came of it.

/** What a test tells the table. */
declare module 'vitest' {
  interface TaskMeta {
    preset?: string
    check?: string
    /** Why not, or what was found. */
    remark?: string
    runtime?: string
    store?: string
    /** Bytes, gzip. */
    size?: number
  }
}

const PROCESSES = ['node-server', 'node-cluster', 'bun', 'deno-server']
const PRESETS = [...PROCESSES, 'cloudflare-durable', 'vercel', 'netlify', 'aws-lambda']
const asked = process.env.PLATFORMS?.split(',') ?? PRESETS
const unknown = asked.filter((preset) => !PRESETS.includes(preset))
if (unknown.length > 0) throw new Error(`PLATFORMS: there is no ${unknown.join(', ')}`)

const adapterOf = (preset: string) => new URL(`${preset}.ts`, import.meta.url)

for (const preset of asked.filter((one) => process.env.PLATFORMS || existsSync(adapterOf(one)))) {
  const { default: platform } = (await import(adapterOf(preset).href)) as { default: Platform }
  let building: Promise<string> | undefined
  const built = () => {
    building ??= build(preset)
    return building
  }

  describe(preset, () => {
    it('is built', async ({ task }) => {
      task.meta.preset = preset
      task.meta.runtime = await platform.runtime()
      task.meta.store = platform.store
      task.meta.size = sizeOf(await built())
    })

    for (const check of CHECKS) {
      it(check.name, async ({ task, skip, onTestFinished }) => {
        Object.assign(task.meta, { preset, check: check.name })
        const why = reasonAgainst(platform, check)
        if (why) {
          task.meta.remark = why
          skip(why)
        }
        const folder = mkdtempSync(join(tmpdir(), `${preset}-`))
        onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
        const store = await startStore(platform.store)
        onTestFinished(async () => void (await store.stop()))
        let running: Running | undefined
        const start: Start = async (env, onEnd) => {
          if (onEnd) onTestFinished(async () => void (await onEnd()))
          running = await platform.start({ built: await built(), env: { ...store.env, ...env }, cwd: folder })
          onTestFinished(running.stop)
          return running
        }
        try {
          task.meta.remark = (await check.run(start)) ?? undefined
        } catch (error) {
          if (running) console.error(`--- log of ${preset}\n${running.log()}`)
          throw error
        }
      })
    }
  })
}

const LACKING: Record<Need, string> = {
  files: 'its state is never in files',
  signals: 'there is no process that is told to end',
  peer: 'there is no socket with another end to ask',
  streams: 'the platform takes an answer whole',
  departures: 'the platform does not tell that a caller has gone',
}

/** Why a check is none for this platform; undefined: it is one. */
function reasonAgainst({ preset, cannot }: Platform, { name, needs }: Check): string | undefined {
  if (cannot?.[name]) return cannot[name]
  const has = PROCESSES.includes(preset) || (needs === 'streams' && preset !== 'aws-lambda')
  return needs && !has ? LACKING[needs] : undefined
}

/** Everything that is deployed, each file compressed for itself; without source maps. */
function sizeOf(built: string): number {
  const outputs = ['.output/server', '.vercel/output/functions', '.netlify/functions-internal']
  const folders = outputs.map((path) => join(built, path)).filter((path) => existsSync(path))
  const files = folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile()),
  )
  return files
    .filter(({ name }) => !name.endsWith('.map'))
    .reduce((sum, { parentPath, name }) => sum + gzipSync(readFileSync(join(parentPath, name))).length, 0)
}
