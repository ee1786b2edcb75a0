import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from '../../platforms/build'
import { buildApp } from '../build-app'
import type { Scene } from '../scene'
import type { Row } from '../table'

const NODE_BUILD = fileURLToPath(new URL('../../../.output/server', import.meta.url))

/** What is deployed: all of a build's files but source maps, each compressed, as Nitro counts them. */
export async function size(_: Scene): Promise<Row[]> {
  const preset = 'cloudflare-durable'
  const worker = join(await build(preset), '.output/server')
  const target = { comparison: '<=', value: 1.5 } as const
  const row = (what: string, beside: string, ours: number, theirs: number) => {
    const ratio = ours / theirs
    const figures = `${(ours / 1000).toFixed(1)} / ${(theirs / 1000).toFixed(1)} kB`
    return { what, beside, figures, result: { median: ratio, from: ratio, to: ratio }, target }
  }
  const withFiles = await buildApp('bare', { store: 'fs' })
  const bareWorker = await buildApp('bare', { preset })
  return [
    row('node build, gzip', 'bare Nitro app with the fs driver', compressed(NODE_BUILD), compressed(withFiles)),
    row('worker build, gzip', 'bare Nitro app, same preset', compressed(worker), compressed(bareWorker)),
  ]
}

function compressed(path: string): number {
  if (statSync(path).isFile()) return path.endsWith('.map') ? 0 : gzipSync(readFileSync(path)).length
  return readdirSync(path).reduce((sum, name) => sum + compressed(join(path, name)), 0)
}
