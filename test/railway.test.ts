import { readFileSync } from 'node:fs'
import {
  createRailwayContext,
  RAILWAY_GRAPH_VERSION,
  type RailwayGraph,
  type ResourceNode,
  type ServiceNode,
  validateGraph,
} from 'railway/iac'
import { beforeAll, describe, expect, it } from 'vitest'
import program, { partial } from '../.railway/railway'

const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')

/** Just enough TOML for railway.toml: `[table]`, `[[table]]`, and `key = "text" | number` with a comment behind it. */
function readToml(text: string): Record<string, Record<string, string | number>> {
  const tables: Record<string, Record<string, string | number>> = {}
  let table: Record<string, string | number> = {}
  for (const line of text.split('\n')) {
    if (/^\s*(#|$)/.test(line)) continue
    const header = line.match(/^\[\[?([\w.]+)\]\]?$/)?.[1]
    const [, key, quoted, digits] = line.match(/^(\w+) = (?:"([^"\\]*)"|(\d+))(?: #.*)?$/) ?? []
    if (header) {
      if (tables[header]) throw new Error(`a second [${header}] in railway.toml`)
      table = tables[header] = {}
    } else if (key) table[key] = quoted ?? Number(digits)
    else throw new Error(`railway.toml has a line this reader does not know: ${line}`)
  }
  return tables
}

describe('.railway/railway.ts', () => {
  let resources: ResourceNode[]
  let keeper: ServiceNode

  beforeAll(async () => {
    const evaluated = await program(createRailwayContext({ environment: 'production' }), (name, definition) => ({
      name,
      ...definition,
    }))
    resources = (evaluated.resources ?? []).flat()
    const found = resources.find((resource) => resource.type === 'service')
    if (!found) throw new Error('no service is declared')
    keeper = found
  })

  it('is a graph Railway accepts, every mount pointing at a volume that is there', () => {
    const graph: RailwayGraph = {
      version: RAILWAY_GRAPH_VERSION,
      project: { name: 'yoto-token-keeper' },
      environments: [],
      resources,
      edges: Object.values(keeper.volumeAttachments ?? {}).map((attachment) => ({
        from: keeper.address,
        to: attachment.volume,
        type: 'mount',
        key: attachment.mountPath,
      })),
    }
    expect(validateGraph(graph)).toEqual([])
  })

  it('declares one service and one volume, under a name of its own', () => {
    expect(resources.map((resource) => resource.address)).toEqual(['service.yoto-token-keeper', 'volume.data'])
    expect(partial).toBe('yoto-token-keeper')
  })

  it('mounts the volume on /data and refuses to deploy without it', () => {
    expect(Object.values(keeper.volumeAttachments ?? {})).toMatchObject([{ volume: 'volume.data', mountPath: '/data' }])
    expect(keeper.deploy?.requiredMountPath).toBe('/data')
  })

  it('builds with npm and starts node itself, which gets SIGTERM', () => {
    expect(keeper.build).toEqual({ builder: 'RAILPACK', buildCommand: 'npm run build' })
    expect(keeper.deploy?.startCommand).toBe('node .output/server/index.mjs')
  })

  it('is healthy when /api/health answers, and is restarted when it fails', () => {
    expect(keeper.deploy).toMatchObject({
      healthcheckPath: '/api/health',
      healthcheckTimeout: 60,
      restartPolicyType: 'ON_FAILURE',
      restartPolicyMaxRetries: 10,
    })
  })

  it('drains for longer than the ten seconds a shutdown may take', () => {
    expect(keeper.deploy?.drainingSeconds).toBeGreaterThan(10)
  })

  it('runs a single replica, as a volume demands', () => {
    expect(keeper.deploy).not.toHaveProperty('numReplicas')
    expect(keeper.deploy).not.toHaveProperty('multiRegionConfig')
  })

  it('holds the value of no variable', () => {
    for (const value of Object.values(keeper.variables ?? {})) expect(value).toEqual({ type: 'preserve' })
  })

  it.each(['.env.example', 'README.md'])('keeps every variable that %s names: an apply deletes the others', (file) => {
    const lines = file === 'README.md' ? /^\| `([A-Z_]+)`/gm : /^(?:# )?([A-Z_]+)=/gm
    const names = [...read(file).matchAll(lines)].map(([, name]) => name)
    expect(names).toContain('YOTO_CLIENT_ID')
    for (const name of names) {
      // Railway sets these itself.
      if (name?.match(/^RAILWAY_(ENVIRONMENT_NAME|VOLUME_MOUNT_PATH|PUBLIC_DOMAIN)$/)) continue
      expect(keeper.variables, file).toHaveProperty([String(name)])
    }
  })

  it('says the same as railway.toml', () => {
    const { build, deploy, 'deploy.volumes': volumes, ...rest } = readToml(read('railway.toml'))
    expect(build).toEqual(keeper.build)
    expect(deploy).toEqual(keeper.deploy)
    const [attachment] = Object.values(keeper.volumeAttachments ?? {})
    expect(volumes).toEqual({ name: attachment?.volume.replace('volume.', ''), mountPath: attachment?.mountPath })
    expect(rest).toEqual({})
  })
})
