import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { build } from '../platforms/build'
import cloudflareDurable from '../platforms/cloudflare-durable'
import type { Running } from '../platforms/platform'
import type { StandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

/** The service in workerd: a Worker in front, and behind it the Durable Object with what it keeps. */
export interface Keeper extends Running {
  /** With the owner's key, unless `init` has an Authorization header of its own; redirects are not followed. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  json<T = Record<string, unknown>>(path: string, init?: RequestInit): Promise<{ status: number; body: T }>
}

export const KEY = 'test-keeper-key-0123456789'

let built: Promise<string> | undefined
/** Once a test file. */
export const buildForCloudflare = () => (built ??= build(cloudflareDurable.preset))

/** A folder for an object's storage, removed after the test. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keeper-object-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Stopped after the test. */
export async function startKeeper(env: Record<string, string> = {}, cwd = newFolder()): Promise<Keeper> {
  const running = await cloudflareDurable.start({
    built: await buildForCloudflare(),
    env: { KEEPER_KEY: KEY, ...env },
    cwd,
  })
  onTestFinished(() => running.stop())
  const request: Keeper['fetch'] = (path, init = {}) => {
    const headers = new Headers(init.headers)
    if (!headers.has('authorization')) headers.set('authorization', `Bearer ${KEY}`)
    return fetch(running.url + path, { redirect: 'manual', ...init, headers })
  }
  return {
    ...running,
    fetch: request,
    json: async (path, init) => {
      const answer = await request(path, init)
      return { status: answer.status, body: await answer.json() }
    },
  }
}

export const envFor = ({ url, clientId }: Pick<StandIn, 'url' | 'clientId'>) => ({
  YOTO_CLIENT_ID: clientId,
  YOTO_AUTH_URL: url,
  YOTO_API_URL: url,
})

/** Begins a sign-in by code, agrees, and asks no more: it is the alarm that polls. */
export async function signIn(keeper: Keeper, approve: (userCode: string) => unknown): Promise<void> {
  const { body } = await keeper.json<{ user_code: string }>('/api/auth/start', { method: 'POST' })
  await approve(body.user_code)
  const times = count(keeper, 'sign_in success')
  await waitUntil(() => count(keeper, 'sign_in success') > times, { what: 'somebody was signed in' })
}

/** How often the log says so. */
export function count(keeper: Running, what: string): number {
  return keeper.log().split(what).length - 1
}
