import { createHash } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Keeper, type KeeperOptions, startKeeper } from '../support/keeper-process'
import { type Fault, type SeededTokens, type StandIn, type StandInOptions, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

/** One folder, one stand-in for Yoto and the built service between them: what every fault of the table is tried on. */

export const FOR_REFRESH = { grant_type: 'refresh_token' }
export const TOKEN = '.yoto_refresh_token'
export const RECORD = '.yoto_token_set.json'

const HOUR = 3_600_000
/** What a crash may have left; whoever holds the lease removes it. */
const LEFTOVER = `${TOKEN}.0123456789abcdef.tmp`

/** As vitest gives it to a test; concurrent tests need their own. */
interface TestContext {
  onTestFinished(clean: () => unknown): void
}

export interface Status {
  authenticated: boolean
  message: string
  state: string
  problem?: string
  hint?: string
  expires_at?: string
  storage: { warning?: string }
}

export interface Refusal {
  error: string
  message: string
  hint?: string
}

export interface Scene {
  yoto: StandIn
  /** Where the service keeps its files. */
  dir: string
  /** What is stored at the beginning. */
  first: SeededTokens
  start(env?: Record<string, string>, options?: Omit<KeeperOptions, 'env'>): Promise<Keeper>
  /** When each request for a refresh arrived at Yoto, answered or not; in milliseconds. */
  refreshes(): number[]
}

/**
 * - `valid`: an hour old and good for 23 more, so that nothing is due
 * - `expired`: it ran out an hour ago
 * - `none`: the bare refresh token, as taken over from elsewhere
 */
export type AccessToken = 'valid' | 'expired' | 'none'

export async function setScene(
  context: TestContext,
  access: AccessToken,
  options: StandInOptions & { leftover?: boolean } = {},
): Promise<Scene> {
  const since = performance.now()
  const yoto = await startStandIn({ interval: 1, ...options })
  context.onTestFinished(() => yoto.stop())
  const folder = mkdtempSync(join(tmpdir(), 'faults-'))
  context.onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const dir = join(folder, 'data')
  mkdirSync(dir)
  const first = yoto.seed()
  place(dir, yoto, first, access)
  if (options.leftover ?? true) writeFileSync(join(dir, LEFTOVER), 'half a tok', { mode: 0o600 })
  return {
    yoto,
    dir,
    first,
    async start(env, { args, uid } = {}) {
      const own = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url, DATA_DIR: dir }
      const keeper = await startKeeper({ cwd: folder, args, uid, env: { ...own, ...env } })
      context.onTestFinished(() => keeper.kill())
      await askStatus(keeper) // /api/health answers before the store has been read
      return keeper
    },
    // Polls go to the same path; the stand-in counts them.
    refreshes: () => arrivals(yoto.url, '/oauth/token', since).slice(yoto.counts.polls),
  }
}

/** Writes what the service would have written after it had issued `tokens`. */
export function place(dir: string, yoto: StandIn, tokens: SeededTokens, access: AccessToken): void {
  for (const [key, value] of valuesOf(yoto, tokens, access)) writeFileSync(join(dir, key), value, { mode: 0o600 })
}

/** The same, for any store: keys and values. */
export function valuesOf(yoto: StandIn, tokens: SeededTokens, access: AccessToken): [key: string, value: string][] {
  const token: [string, string] = [TOKEN, `${tokens.refresh_token}\n`]
  if (access === 'none') return [token]
  const issuedAt = Date.now() - (access === 'valid' ? HOUR : 25 * HOUR)
  const fingerprint = fingerprintOf(tokens.refresh_token)
  const record = {
    version: 1,
    fingerprint,
    family: fingerprint,
    client_id: yoto.clientId,
    access_token: tokens.access_token,
    issued_at: new Date(issuedAt).toISOString(),
    expires_at: new Date(issuedAt + 24 * HOUR).toISOString(),
    scope: 'offline_access',
  }
  return [token, [RECORD, JSON.stringify(record)]]
}

export const fingerprintOf = (token: string) => createHash('sha256').update(token).digest('hex')

/** Everything that comes in at any http server of this process, on the wire and not in the stand-in's words. */
const arrived: { port?: number; path?: string; at: number }[] = []
subscribe('http.server.request.start', (message) => {
  const { request } = message as { request: IncomingMessage }
  arrived.push({ port: request.socket.localPort, path: request.url, at: performance.now() })
})

/** `since`: a port may have been somebody else's before. */
export function arrivals(url: string, path: string, since: number): number[] {
  const meant = arrived.filter((one) => one.port === Number(new URL(url).port) && one.path === path)
  return meant.map(({ at }) => at).filter((at) => at >= since)
}

/** The right answer, changed; after the rotation. */
const replace = (map: (body: Record<string, unknown>) => unknown): Fault => ({ kind: 'replace-json', map })
export const without = (name: string) => replace(({ [name]: _, ...rest }) => rest)
export const changed = (changes: Record<string, unknown>) => replace((body) => ({ ...body, ...changes }))

/** A fault that lasts until the returned function is called. The stand-in reads the very object that it was given. */
export function lasting(yoto: StandIn, fault: Fault): () => void {
  const current: Fault = { ...fault }
  yoto.inject(current, { ...FOR_REFRESH, times: 1_000_000 })
  return () => Object.assign(current, { kind: 'delay', ms: 0 })
}

// --- what a caller sees -----------------------------------------------------------------------------------------------

export const askToken = (keeper: Keeper) =>
  keeper.json<Partial<Refusal> & { access_token?: string; expires_in?: number; expires_at?: string }>('/api/token')
export const askStatus = async (keeper: Keeper) => (await keeper.json<Status>('/api/auth/status')).body
export const askReady = (keeper: Keeper) => keeper.json<{ ready: boolean; reason?: string }>('/api/ready')
export const refresh = (keeper: Keeper) =>
  keeper.json<Partial<Refusal & Status>>('/api/auth/refresh', { method: 'POST' })
export const signOut = (keeper: Keeper) =>
  keeper.json<{ success: boolean; message: string }>('/api/auth/logout', { method: 'POST' })

/** A sign-in by code, begun on the page and agreed to by a person. */
export async function signIn(keeper: Keeper, yoto: StandIn): Promise<void> {
  const { body } = await keeper.json<{ user_code: string; device_code: string }>('/api/auth/start', { method: 'POST' })
  yoto.approve(body.user_code)
  const poll = { method: 'POST', body: JSON.stringify({ device_code: body.device_code }) }
  const headers = { 'content-type': 'application/json' }
  await waitUntil(
    async () =>
      (await keeper.json<{ status: string }>('/api/auth/poll', { ...poll, headers })).body.status === 'success',
    { what: 'the sign-in had succeeded' },
  )
}

/** The service's background work goes on: a sign-in is begun, nobody agrees, and it is polled twice, a second apart. */
export async function letTimePass(keeper: Keeper, yoto: StandIn): Promise<void> {
  const before = yoto.counts.polls
  await keeper.json('/api/auth/start', { method: 'POST' })
  await waitUntil(() => yoto.counts.polls >= before + 2, { what: 'the service had polled twice' })
}

/** A refresh is asked for; Yoto has processed it and holds its answer back while `meanwhile` happens. */
export async function duringRefresh(keeper: Keeper, { yoto }: Scene, meanwhile: () => unknown) {
  const held = yoto.hold(FOR_REFRESH)
  const answer = refresh(keeper)
  await held.reached
  await meanwhile()
  held.release()
  return answer
}

/** Whatever was sent to the service before has reached it by now. */
export async function settle(keeper: Keeper): Promise<void> {
  for (let i = 0; i < 3; i++) await keeper.json('/api/health')
}

/** A caller gets a token, and it is one that Yoto takes. */
export async function expectWorkingToken(keeper: Keeper, yoto: StandIn): Promise<string> {
  const answer = await waitUntil(
    async () => {
      const { status, body } = await askToken(keeper)
      return status === 200 && body
    },
    { what: 'a caller got a token' },
  )
  expect(await whoami(yoto, answer.access_token)).toBe(200)
  return answer.access_token ?? ''
}

export async function whoami(yoto: StandIn, accessToken = ''): Promise<number> {
  return (await fetch(`${yoto.url}/v1/whoami`, { headers: { authorization: `Bearer ${accessToken}` } })).status
}

// --- what is on disk --------------------------------------------------------------------------------------------------

export const storedToken = (dir: string) => readFileSync(join(dir, TOKEN), 'utf8')

export function storedRecord(dir: string): Record<string, unknown> {
  return existsSync(join(dir, RECORD)) ? JSON.parse(readFileSync(join(dir, RECORD), 'utf8')) : {}
}

/** The token file holds exactly this and is ours alone; no temporary file stays. */
export async function expectStored(dir: string, bytes: string): Promise<void> {
  expect(storedToken(dir)).toBe(bytes)
  expect(statSync(join(dir, TOKEN)).mode & 0o777).toBe(0o600)
  await expectNoLeftovers(dir)
}

/** Nothing is left that could be used, neither the refresh token nor the access token in the record. */
export async function expectNothingStored(dir: string): Promise<void> {
  expect(existsSync(join(dir, TOKEN))).toBe(false)
  await waitUntil(() => !('access_token' in storedRecord(dir)), {
    timeout: 5_000,
    what: 'the access token had gone from the record',
  })
  await expectNoLeftovers(dir)
}

/** One that is being written at this moment is none. On a disk that turns read-only the journal may have to leave one; no secret is in it. */
async function expectNoLeftovers(dir: string): Promise<void> {
  const leftovers = () => readdirSync(dir).filter((name) => /^(?!\.yoto_journal\.).*\.tmp$/.test(name))
  await waitUntil(() => leftovers().length === 0, { timeout: 5_000, what: 'no temporary file was left' }).catch(
    () => {},
  )
  expect(leftovers()).toEqual([])
}

/** All is well by itself: the newest token is stored, Yoto would take it next, and a caller's access token works. */
export async function expectSignedIn(keeper: Keeper, { yoto, dir }: Scene, family?: SeededTokens): Promise<void> {
  const isWell = async () => {
    const status = await askStatus(keeper)
    if (!status.authenticated || status.problem) return false
    // What was begun has ended as well: until then the access token may be about to be replaced.
    const isSettled = !Object.hasOwn(storedRecord(dir), 'intent')
    return isSettled && storedToken(dir) === yoto.currentRefreshToken(family?.refresh_token)
  }
  await waitUntil(isWell, { what: 'the sign-in was well and its newest token stored' })
  await expectWorkingToken(keeper, yoto)
  await expectStored(dir, yoto.currentRefreshToken(family?.refresh_token))
  expect(yoto.isRevoked(storedToken(dir))).toBe(false)
  expect(await askStatus(keeper)).toMatchObject({ state: 'signed_in', authenticated: true })
  expect(await askReady(keeper)).toMatchObject({ status: 200, body: { ready: true } })
  expect(storedRecord(dir)).not.toHaveProperty('intent')
}

/** Somebody signed out, and it stays so: for every way of asking, on disk, and after a restart. */
export async function expectSignedOut(keeper: Keeper, scene: Scene): Promise<void> {
  const sent = scene.refreshes().length
  await waitUntil(async () => (await askToken(keeper)).status === 409, { what: 'the sign-out was noticed' })
  const look = async (one: Keeper) => {
    expect((await askToken(one)).body).toMatchObject({ error: 'signed_out' })
    expect(await askStatus(one)).toMatchObject({ state: 'signed_out', authenticated: false })
    expect((await refresh(one)).body).toMatchObject({ error: 'signed_out' })
    await expectNothingStored(scene.dir)
  }
  await look(keeper)
  await letTimePass(keeper, scene.yoto)
  await look(keeper)
  await keeper.stop()
  const again = await scene.start()
  await look(again)
  await again.kill()
  expect(scene.refreshes()).toHaveLength(sent)
}

/** No token of this scene has been printed. */
export function expectNoSecrets(keeper: Keeper, { yoto, first }: Scene): void {
  for (const secret of [first.refresh_token, first.access_token, yoto.currentRefreshToken(first.refresh_token)]) {
    expect(keeper.log()).not.toContain(secret)
  }
}
