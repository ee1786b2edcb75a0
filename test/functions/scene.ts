import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RECORD, valuesOf } from '../faults/scene'
import { build } from '../platforms/build'
import { type FunctionOptions, startFunction } from '../platforms/function-isolates'
import type { Running } from '../platforms/platform'
import { type RedisServer, type RedisServerOptions, startRedis } from '../support/redis'
import { type SeededTokens, type StandIn, type StandInOptions, startStandIn } from '../support/stand-in'
import { startUpstashAdapter, type UpstashAdapter } from '../support/upstash-adapter'

/** A function's built output, a stand-in for Yoto, and a real Redis with Upstash's REST API in front of it. */

export const KEY = 'test-keeper-key-0123456789'
export const TOOL_KEY = 'test-tool-key-0123456789'

export type Preset = FunctionOptions['preset']

const ENTRIES: Record<Preset, string> = {
  vercel: '.vercel/output/functions/__fallback.func/index.mjs',
  netlify: '.netlify/functions-internal/server/server.mjs',
  'aws-lambda': '.output/server/index.mjs',
}

/** Each preset is built once a test file. */
const built = new Map<Preset, Promise<string>>()
export async function entryOf(preset: Preset): Promise<string> {
  if (!built.has(preset)) built.set(preset, build(preset))
  return join((await built.get(preset)) ?? '', ENTRIES[preset])
}

interface TestContext {
  onTestFinished(clean: () => unknown): void
}

export interface Deployed extends Running {
  /** With the owner's key, unless there is another. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  // biome-ignore lint/suspicious/noExplicitAny: an answer's shape is the test's to know
  json(path: string, init?: RequestInit): Promise<{ status: number; body: any }>
  post(path: string, body?: object): ReturnType<Deployed['json']>
}

export interface Scene {
  yoto: StandIn
  redis: RedisServer
  upstash: UpstashAdapter
  /** What is stored at the beginning. */
  first: SeededTokens
  stored(key: string): Promise<string | null>
  /** What would tell the function where its state is kept. */
  store: Record<string, string>
  start(env?: Record<string, string>, options?: Partial<FunctionOptions>): Promise<Deployed>
}

/**
 * - `valid`: nothing is due
 * - `due`: issued 13 hours ago, good for 11 more
 * - `expired`: it ran out an hour ago
 */
export type AccessToken = 'valid' | 'due' | 'expired' | 'nobody'

export async function setScene(
  context: TestContext,
  preset: Preset,
  access: AccessToken,
  options: StandInOptions = {},
  redisOptions: RedisServerOptions = {},
): Promise<Scene> {
  const yoto = await startStandIn({ interval: 1, ...options })
  context.onTestFinished(() => yoto.stop())
  const redis = await startRedis(redisOptions)
  context.onTestFinished(() => redis.stop())
  const upstash = await startUpstashAdapter(redis.url)
  context.onTestFinished(() => upstash.stop())
  const cwd = mkdtempSync(join(tmpdir(), 'function-'))
  context.onTestFinished(() => rmSync(cwd, { recursive: true, force: true }))
  const first = yoto.seed()
  const scene: Scene = {
    yoto,
    redis,
    upstash,
    first,
    stored: (key) => redis.client.get(`production:${key}`),
    store: { UPSTASH_REDIS_REST_URL: upstash.url, UPSTASH_REDIS_REST_TOKEN: upstash.token },
    async start(env, more) {
      const own = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url }
      const keys = { KEEPER_KEY: KEY, KEEPER_TOOL_KEYS: `tool:${TOOL_KEY}` }
      const all = { ...own, ...keys, ...scene.store, ...env }
      const running = await startFunction({ preset, entry: await entryOf(preset), env: all, cwd, ...more })
      context.onTestFinished(() => running.stop())
      return withKey(running)
    },
  }
  await place(scene, access)
  return scene
}

/** Writes what another isolate would have written after it had issued the first tokens. */
export async function place({ yoto, redis, first }: Scene, access: AccessToken): Promise<void> {
  if (access === 'nobody') return
  for (const [key, value] of valuesOf(yoto, first, access === 'due' ? 'valid' : access)) {
    await redis.client.set(`production:${key}`, key === RECORD && access === 'due' ? aged(value) : value)
  }
}

function aged(record: string): string {
  const hours = (count: number) => new Date(Date.now() + count * 3_600_000).toISOString()
  return JSON.stringify({ ...JSON.parse(record), issued_at: hours(-13), expires_at: hours(11) })
}

function withKey(running: Running): Deployed {
  const ask = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers)
    if (!headers.has('authorization') && !headers.has('cookie')) headers.set('authorization', `Bearer ${KEY}`)
    return fetch(running.url + path, { redirect: 'manual', ...init, headers })
  }
  const json: Deployed['json'] = async (path, init) => {
    const answer = await ask(path, init)
    const text = await answer.text()
    return { status: answer.status, body: text ? JSON.parse(text) : undefined }
  }
  return {
    ...running,
    fetch: ask,
    json,
    post: (path, body = {}) =>
      json(path, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  }
}
