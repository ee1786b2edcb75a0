import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { canMount, mountSmallDisk, type SmallDisk } from '../faults/disk'
import { type AuthorizationServer, startAuthorizationServer } from './authorization-server'
import { freePort, type Keeper, startKeeper } from './keeper-process'
import { type Fault, type StandIn, type StandInOptions, startStandIn } from './stand-in'
import { waitUntil } from './wait-until'

/**
 * Every state of the page, and how a built service gets into it: by what people, Yoto and disks do, never by an invented answer. The
 * tests read the states; `npm run screenshots` takes their pictures.
 */

export type View =
  | 'locked'
  | 'not_configured'
  | 'signed_out'
  | 'signing_in'
  | 'signed_in'
  | 'needs_sign_in'
  | 'unreachable'

/** A service, and what stands around it. */
export interface Stage {
  /** The service's own address: localhost, another site than Yoto's 127.0.0.1. */
  url: string
  keeper: Keeper
  /** The address that a person opens. */
  link: string
  yoto: StandIn
  /** In the place of `yoto` where a person goes to Yoto's own pages. */
  server?: AuthorizationServer
  /** Where the service keeps its files. */
  dir: string
  disk?: SmallDisk
  /** Starts the service again, where it was. */
  restart(): Promise<void>
  stop(): Promise<void>
}

export interface PageState {
  name: string
  view: View
  /** What the page says of the state. */
  sentence: RegExp
  /** What it says is wrong; no word of a problem is to be seen without this. */
  problem?: RegExp
  /** A remark about a sign-in that has ended. */
  result?: RegExp
  /** Test ids of the next steps; all of them are to be seen. */
  next: string[]
  /** Why this machine cannot bring it about. */
  skip?: string
  set(): Promise<Stage>
  /** What the page shows before `enter`. */
  from: View
  /** What happens while the page is open. */
  enter?(page: Page, stage: Stage): Promise<unknown>
  /** Only the world changes in `enter`, and the page is to notice by itself, without a reload. */
  byItself?: boolean
  /** The world is well again, and the page is to notice that by itself too: it then shows this view, and no problem. */
  mend?: { how(stage: Stage): Promise<unknown>; view: View }
}

/** Opens the page as a person would, and brings it into the state. */
export async function openIn(state: PageState, stage: Stage, context: BrowserContext): Promise<Page> {
  const page = await context.newPage()
  await page.goto(stage.link)
  await shows(page, state.from)
  await state.enter?.(page, stage)
  await shows(page, state.view)
  for (const id of ['problem', 'login-result'] as const) {
    const text = state[id === 'problem' ? 'problem' : 'result']
    if (text) await page.locator(`[data-testid=${id}]:visible`, { hasText: text }).waitFor()
  }
  await page.locator('[data-testid=state-sentence]:visible', { hasText: state.sentence }).waitFor()
  return page
}

export const shows = (page: Page, view: View) => page.waitForSelector(`main[data-view="${view}"]`)

// --- the service and its surroundings ---------------------------------------------------------------------------------

interface Setting {
  env?: Record<string, string>
  /** Somebody is signed in, has been for a while, and the journal tells of it. */
  signedIn?: boolean
  /** A disk of its own, which can be full. */
  disk?: boolean
  yoto?: StandInOptions
  /** A real authorization server with pages for the browser. */
  pages?: boolean
  /** Before the service starts. */
  before?(stage: Pick<Stage, 'yoto' | 'dir'>): unknown
}

async function setStage({ env, signedIn, disk: ownDisk, yoto: options, pages, before }: Setting = {}): Promise<Stage> {
  const undo: (() => unknown)[] = []
  const stop = async () => {
    for (const step of undo.reverse()) await step()
  }
  try {
    const folder = mkdtempSync(join(tmpdir(), 'page-'))
    undo.push(() => rmSync(folder, { recursive: true, force: true }))
    const dir = join(folder, 'data')
    mkdirSync(dir)
    const disk = ownDisk ? mountSmallDisk(dir) : undefined
    if (disk) undo.push(disk.unmount)

    const port = String(await freePort())
    const url = `http://localhost:${port}`
    const yoto = await startStandIn({ interval: 1, ...options })
    undo.push(yoto.stop)
    const redirectUris = [`${url}/api/auth/callback`]
    const server = pages ? await startAuthorizationServer({ redirectUris, interval: 1 }) : undefined
    if (server) undo.push(server.stop)
    const { url: yotoUrl, clientId } = server ?? yoto

    if (before) await before({ yoto, dir })
    const start = () =>
      startKeeper({
        cwd: folder,
        env: {
          ...{ PORT: port, DATA_DIR: dir },
          ...{ YOTO_CLIENT_ID: clientId, YOTO_AUTH_URL: yotoUrl, YOTO_API_URL: yotoUrl },
          ...env,
        },
      })
    const keeper = await start()
    const stage: Stage = {
      ...{ url, keeper, link: `${url}/#key=${keeper.key}`, yoto, server, dir, disk, stop },
      restart: async () => {
        stage.keeper = await start()
      },
    }
    undo.push(() => stage.keeper.kill())
    if (signedIn) {
      await signIn(stage)
      await refresh(stage)
    }
    return stage
  } catch (error) {
    await stop()
    throw error
  }
}

const post = (path: string, body: object = {}): [string, RequestInit] => [
  path,
  { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } },
]

const refresh = ({ keeper }: Stage) => keeper.json(...post('/api/auth/refresh'))

async function begin({ keeper }: Stage): Promise<string> {
  return (await keeper.json<{ user_code: string }>(...post('/api/auth/start'))).body.user_code
}

/** Somebody signs in by a code, elsewhere. */
async function signIn(stage: Stage): Promise<void> {
  const code = await begin(stage)
  if (stage.server) await stage.server.approve(code, 'parent@example.test')
  else stage.yoto.approve(code)
  await waitUntil(
    async () => (await stage.keeper.json<{ authenticated: boolean }>('/api/auth/status')).body.authenticated,
    { what: 'somebody was signed in' },
  )
}

/** Signed in an hour ago, by an earlier process: nothing is due, and a refresh that is asked for is not too soon. */
function stored({ yoto, dir }: Pick<Stage, 'yoto' | 'dir'>): void {
  const { refresh_token, access_token } = yoto.seed()
  const fingerprint = createHash('sha256').update(refresh_token).digest('hex')
  const issuedAt = Date.now() - HOUR
  const record = {
    ...{ version: 1, fingerprint, family: fingerprint, client_id: yoto.clientId, access_token },
    issued_at: new Date(issuedAt).toISOString(),
    expires_at: new Date(issuedAt + 24 * HOUR).toISOString(),
    scope: 'offline_access',
  }
  writeFileSync(join(dir, '.yoto_refresh_token'), refresh_token, { mode: 0o600 })
  writeFileSync(join(dir, '.yoto_token_set.json'), JSON.stringify(record), { mode: 0o600 })
}
const HOUR = 3_600_000

/** Two weeks of ordinary life, with a day without Yoto. */
function lived({ dir }: Pick<Stage, 'dir'>): void {
  const at = (hours: number) => new Date(Date.now() - hours * HOUR).toISOString()
  const silence = { kind: 'refresh', outcome: 'not_sent', message: 'Yoto cannot be reached (ENOTFOUND).' }
  const refreshes = Array.from({ length: 29 }, (_, turn) => 14 * 24 - 12 * turn).filter((ago) => ago < 150 || ago > 200)
  const events = [
    { at: at(14 * 24 + 1), kind: 'sign_in', outcome: 'success', message: 'Signed in.' },
    ...refreshes.slice(0, -1).map((ago) => ({ at: at(ago), kind: 'refresh', outcome: 'ok', message: 'Refreshed.' })),
    { at: at(186), ...silence, count: 9, last_at: at(156) },
  ]
  events.sort((a, b) => a.at.localeCompare(b.at))
  writeFileSync(join(dir, '.yoto_journal.json'), JSON.stringify(events), { mode: 0o600 })
}

const FOR_REFRESH = { grant_type: 'refresh_token' }

/** Every refresh is answered so until `heal`; the stand-in reads the very object that it was given. */
function ail({ yoto }: Pick<Stage, 'yoto'>, fault: Fault): void {
  const current = { ...fault }
  ailing.set(yoto, current)
  yoto.inject(current, { ...FOR_REFRESH, times: 1_000_000 })
}
const ailing = new WeakMap<StandIn, Fault>()
const heal = ({ yoto }: Stage) => Object.assign(ailing.get(yoto) ?? {}, { kind: 'delay', ms: 0 })
const INVALID_CLIENT: Fault = { kind: 'status', status: 401, body: { error: 'invalid_client' } }

/** Yoto rotates the token, and the store breaks before that can be saved. */
async function breakDuringRefresh(stage: Stage, breakStore: () => unknown): Promise<void> {
  const held = stage.yoto.hold(FOR_REFRESH)
  const answer = refresh(stage)
  await held.reached
  await breakStore()
  held.release()
  await answer
}

/** Lets go of the account at Yoto, as a token that came back from a copy would (RFC 7009). */
async function revoke({ yoto }: Stage): Promise<void> {
  const body = new URLSearchParams({ client_id: yoto.clientId, token: yoto.currentRefreshToken() })
  await fetch(`${yoto.url}/oauth/revoke`, { method: 'POST', body })
}

// --- what a person does -----------------------------------------------------------------------------------------------

async function startByCode(page: Page): Promise<string> {
  await page.click('[data-testid=sign-in]')
  await shows(page, 'signing_in')
  return (await page.textContent('[data-testid=user-code]'))?.trim() ?? ''
}

/** Clicks, and comes to Yoto's own pages. */
async function goToYoto(page: Page, { server, yoto }: Stage): Promise<void> {
  await page.click('[data-testid=login]')
  await page.waitForURL(`${(server ?? yoto).url}/**`)
}

/** Logs in where Yoto asks for it, and agrees, until Yoto sends the browser back. */
async function agree(page: Page, { server, url }: Stage, account: string): Promise<void> {
  while (page.url().startsWith(server?.url ?? '-')) {
    if (await page.locator('input[name=login]').count()) {
      await page.fill('input[name=login]', account)
      await page.fill('input[name=password]', 'any')
    }
    const left = page.waitForNavigation()
    await page.locator('form button[type=submit]').first().click()
    await left
  }
  await page.waitForURL(`${url}/`)
}

/** Yoto sends the browser back with this, as the answer to what it was sent there with. */
async function comeBack(page: Page, { url }: Stage, answer: Record<string, string>): Promise<string> {
  const state = new URL(page.url()).searchParams.get('state') ?? ''
  const callback = `${url}/api/auth/callback?${new URLSearchParams({ ...answer, state })}`
  await page.goto(callback)
  return callback
}

/** Sent back at once, without having been at any page of Yoto's. */
const answered = (answer: (stage: Stage) => Record<string, string>, meanwhile?: (stage: Stage) => unknown) => ({
  set: () => setStage(),
  from: 'signed_out' as const,
  view: 'signed_out' as const,
  sentence: NOBODY,
  next: BOTH_WAYS,
  enter: async (page: Page, stage: Stage) => {
    await goToYoto(page, stage)
    await meanwhile?.(stage)
    await comeBack(page, stage, answer(stage))
  },
})

// --- the states -------------------------------------------------------------------------------------------------------

const NOBODY = /Nobody is signed in/
const SIGNED_IN = /Signed in to Yoto/
const BOTH_WAYS = ['login', 'sign-in', 'lock']
const WHEN_SIGNED_IN = ['refresh-now', 'sign-out', 'lock']
const WITH_CODE = ['user-code', 'copy-code', 'countdown', 'start-over', 'advice']
const NEEDS_MOUNT = canMount ? undefined : 'a disk that is full asks for the right to mount one'
const RAILWAY = { RAILWAY_ENVIRONMENT_NAME: 'production' }
const NOT_DURABLE = /redeployment[\s\S]*railway volume add/

export const pageStates: PageState[] = [
  {
    name: 'not-configured',
    ...{ view: 'not_configured', from: 'not_configured', next: ['lock'] },
    sentence: /No client id is set/,
    set: () => setStage({ env: { YOTO_CLIENT_ID: '' } }),
  },
  {
    name: 'locked',
    ...{ view: 'locked', from: 'signed_in', next: ['key-input', 'unlock'], byItself: true },
    sentence: /keeper key/i,
    set: () => setStage({ signedIn: true }),
    enter: async (page, { url }) => {
      const otherTab = await page.context().newPage()
      await otherTab.goto(url)
      await otherTab.click('[data-testid=lock]')
      await shows(otherTab, 'locked')
      await otherTab.close()
    },
  },
  {
    name: 'locked-wrong-key',
    ...{ view: 'locked', from: 'locked', next: ['key-input', 'unlock'] },
    sentence: /keeper key/i,
    problem: /key/i,
    set: async () => {
      const stage = await setStage()
      return Object.assign(stage, { link: stage.url })
    },
    enter: async (page) => {
      await page.fill('[data-testid=key-input]', 'not-the-key-but-long-enough')
      await page.click('[data-testid=unlock]')
    },
  },
  {
    name: 'signed-out',
    ...{ view: 'signed_out', from: 'signed_in', next: BOTH_WAYS, byItself: true },
    sentence: NOBODY,
    set: () => setStage({ signedIn: true }),
    enter: (_, { keeper }) => keeper.json(...post('/api/auth/logout')),
  },
  {
    name: 'signed-out-not-durable',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS },
    sentence: NOBODY,
    problem: NOT_DURABLE,
    set: () => setStage({ env: RAILWAY }),
  },
  {
    name: 'signed-out-disk-full',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS, skip: NEEDS_MOUNT },
    sentence: NOBODY,
    problem: /disk is full|room/i,
    set: () => setStage({ disk: true }),
    enter: (page, { disk }) => {
      disk?.fill()
      return page.click('[data-testid=sign-in]')
    },
  },
  {
    name: 'signed-out-folder-gone',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS },
    sentence: NOBODY,
    problem: /mount the volume/i,
    set: () => setStage(),
    enter: (page, { dir }) => {
      renameSync(dir, `${dir}-away`)
      return page.click('[data-testid=sign-in]')
    },
  },
  {
    name: 'signed-out-unreadable',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS, byItself: true },
    sentence: /Nobody is signed in\. \.yoto_refresh_token is a directory/,
    problem: /Move \.yoto_refresh_token away/,
    set: () => setStage(),
    enter: async (_, { dir }) => mkdirSync(join(dir, '.yoto_refresh_token')),
    mend: { how: async ({ dir }) => rmSync(join(dir, '.yoto_refresh_token'), { recursive: true }), view: 'signed_out' },
  },
  {
    name: 'signed-out-yoto-unreachable',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS },
    sentence: NOBODY,
    problem: /Yoto cannot be reached|ECONNREFUSED/,
    set: () => setStage(),
    enter: async (page, { yoto }) => {
      await yoto.pause()
      await page.click('[data-testid=sign-in]')
    },
  },
  {
    name: 'signed-out-misconfigured',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS },
    sentence: NOBODY,
    problem: /invalid_client[\s\S]*yoto\.dev/,
    set: () => setStage({ env: { YOTO_CLIENT_ID: 'unknown-client' } }),
    enter: (page) => page.click('[data-testid=sign-in]'),
  },
  {
    name: 'code',
    ...{ view: 'signing_in', from: 'signed_out', next: WITH_CODE, byItself: true },
    sentence: /code/i,
    set: () => setStage(),
    enter: (_, stage) => begin(stage),
    mend: {
      how: async ({ yoto, keeper }) => {
        const { body } = await keeper.json<{ login: { user_code: string } }>('/api/auth/status')
        yoto.approve(body.login.user_code)
      },
      view: 'signed_in',
    },
  },
  {
    name: 'code-not-durable',
    ...{ view: 'signing_in', from: 'signed_out', next: WITH_CODE, byItself: true },
    sentence: /code/i,
    problem: NOT_DURABLE,
    set: () => setStage({ env: RAILWAY }),
    enter: (_, stage) => begin(stage),
  },
  {
    name: 'code-yoto-unreachable',
    ...{ view: 'signing_in', from: 'signed_out', next: WITH_CODE },
    sentence: /code/i,
    set: () => setStage(),
    enter: async (page, { yoto }) => {
      await startByCode(page)
      await yoto.pause()
      await page.getByText('Still trying').first().waitFor()
    },
  },
  {
    name: 'code-run-out',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS, byItself: true },
    sentence: NOBODY,
    result: /code has run out|expired/i,
    set: () => setStage({ yoto: { deviceCodeTtl: 3 } }),
    enter: (page) => startByCode(page),
  },
  {
    name: 'code-denied',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS, byItself: true },
    sentence: NOBODY,
    result: /denied|cancelled/i,
    set: () => setStage(),
    enter: async (page, { yoto }) => yoto.deny(await startByCode(page)),
  },
  {
    name: 'click-success',
    ...{ view: 'signed_in', from: 'signed_out', next: WHEN_SIGNED_IN },
    sentence: SIGNED_IN,
    result: /You are signed in/,
    set: () => setStage({ pages: true }),
    enter: async (page, stage) => {
      await goToYoto(page, stage)
      await agree(page, stage, 'parent@example.test')
    },
  },
  {
    name: 'click-other-account',
    ...{ view: 'signed_in', from: 'signed_in', next: WHEN_SIGNED_IN },
    sentence: SIGNED_IN,
    result: /another Yoto account/,
    set: () => setStage({ pages: true, signedIn: true }),
    enter: async (page, stage) => {
      await page.goto(`${stage.url}/api/auth/login`)
      await agree(page, stage, 'somebody-else@example.test')
    },
  },
  {
    name: 'click-denied',
    ...{ view: 'signed_out', from: 'signed_out', next: BOTH_WAYS },
    sentence: NOBODY,
    result: /denied/i,
    set: () => setStage({ pages: true }),
    enter: async (page, stage) => {
      await goToYoto(page, stage)
      await page.locator('a[href*=abort]').click()
      await page.waitForURL(`${stage.url}/`)
    },
  },
  {
    name: 'click-not-allowed',
    ...answered(() => ({ error: 'unauthorized_client' })),
    result: /Use a code/i,
  },
  {
    name: 'click-wrong-scope',
    ...answered(() => ({ error: 'invalid_scope' })),
    result: /YOTO_SCOPE/,
  },
  {
    name: 'click-failed',
    ...answered(() => ({ error: 'server_error' })),
    result: /did not work/,
  },
  {
    name: 'click-yoto-unreachable',
    ...answered(
      ({ yoto }) => ({ code: yoto.authorize() }),
      ({ yoto }) => yoto.pause(),
    ),
    result: /could not be reached/,
  },
  {
    name: 'click-unexpected',
    ...answered(() => ({})),
    enter: (page, { url }) => page.goto(`${url}/api/auth/callback?code=any&state=any`),
    result: /Nobody began this sign-in/,
  },
  {
    name: 'click-used',
    ...{ view: 'signed_in', from: 'signed_out', next: WHEN_SIGNED_IN },
    sentence: SIGNED_IN,
    result: /had come back before/,
    set: () => setStage(),
    enter: async (page, stage) => {
      await goToYoto(page, stage)
      const cookies = await page.context().cookies(`${stage.url}/api/auth/callback`)
      const callback = await comeBack(page, stage, { code: stage.yoto.authorize() })
      await shows(page, 'signed_in')
      await page.context().addCookies(cookies) // as in a tab that was restored
      await page.goto(callback)
    },
  },
  {
    name: 'signed-in',
    ...{ view: 'signed_in', from: 'signed_out', next: WHEN_SIGNED_IN, byItself: true },
    sentence: SIGNED_IN,
    set: () => setStage({ pages: true, before: lived }),
    enter: async (_, stage) => {
      await signIn(stage)
      await refresh(stage)
    },
  },
  {
    name: 'signed-in-not-durable',
    ...{ view: 'signed_in', from: 'signed_in', next: WHEN_SIGNED_IN },
    sentence: SIGNED_IN,
    problem: NOT_DURABLE,
    set: () => setStage({ env: RAILWAY, signedIn: true }),
  },
  {
    name: 'signed-in-yoto-unreachable',
    ...{ view: 'signed_in', from: 'signed_in', next: WHEN_SIGNED_IN, byItself: true },
    sentence: /cannot be renewed now/,
    problem: /Yoto cannot be reached/,
    set: () => setStage({ before: stored }),
    enter: async (_, stage) => {
      await stage.yoto.pause()
      await refresh(stage)
    },
    mend: { how: ({ yoto }) => yoto.resume(), view: 'signed_in' },
  },
  {
    name: 'signed-in-no-token',
    ...{ view: 'signed_in', from: 'signed_in', next: WHEN_SIGNED_IN },
    sentence: /cannot be reached/,
    problem: /Yoto cannot be reached/,
    set: () =>
      setStage({
        before: async ({ yoto, dir }) => {
          // Without its record, as taken over from elsewhere: there is no access token.
          writeFileSync(join(dir, '.yoto_refresh_token'), yoto.seed().refresh_token, { mode: 0o600 })
          await yoto.pause()
        },
      }),
    mend: { how: ({ yoto }) => yoto.resume(), view: 'signed_in' },
  },
  {
    name: 'signed-in-misconfigured',
    ...{ view: 'signed_in', from: 'signed_in', next: WHEN_SIGNED_IN, byItself: true },
    sentence: /cannot be renewed now/,
    problem: /set-up needs mending[\s\S]*yoto\.dev/i,
    set: () => setStage({ before: stored }),
    enter: async (_, stage) => {
      ail(stage, INVALID_CLIENT)
      await refresh(stage)
    },
    mend: {
      how: async (stage) => {
        heal(stage)
        // It is tried again every 5 minutes, or after a restart.
        await stage.keeper.stop()
        await stage.restart()
      },
      view: 'signed_in',
    },
  },
  {
    name: 'signed-in-disk-full',
    ...{ view: 'signed_in', from: 'signed_in', next: WHEN_SIGNED_IN, byItself: true, skip: NEEDS_MOUNT },
    sentence: /in memory only/,
    problem: /could not be saved/,
    set: () => setStage({ disk: true, before: stored }),
    enter: async (_, stage) => {
      await breakDuringRefresh(stage, () => stage.disk?.fill())
    },
    mend: { how: async ({ disk }) => disk?.free(), view: 'signed_in' },
  },
  {
    name: 'signed-in-disk-read-only',
    ...{ view: 'signed_in', from: 'signed_in', next: WHEN_SIGNED_IN, byItself: true, skip: NEEDS_MOUNT },
    sentence: /in memory only/,
    problem: /could not be saved/,
    set: () => setStage({ disk: true, before: stored }),
    enter: async (_, stage) => {
      await breakDuringRefresh(stage, () => stage.disk?.readOnly(true))
    },
    mend: { how: async ({ disk }) => disk?.readOnly(false), view: 'signed_in' },
  },
  {
    name: 'signed-in-folder-gone',
    ...{ view: 'signed_in', from: 'signed_in', next: WHEN_SIGNED_IN, byItself: true },
    // With its folder the service has lost what sessions are sealed with: it answers nothing but that, and the page keeps the last sentence.
    sentence: /Signed in to Yoto|Cannot read/,
    problem: /mount the volume/,
    set: () => setStage({ signedIn: true }),
    enter: async (_, { dir }) => renameSync(dir, `${dir}-away`),
    mend: { how: async ({ dir }) => existsSync(dir) || renameSync(`${dir}-away`, dir), view: 'signed_in' },
  },
  {
    name: 'sign-out-asked',
    ...{ view: 'signed_in', from: 'signed_in', next: ['confirm-sign-out', 'cancel-sign-out'] },
    sentence: SIGNED_IN,
    set: () => setStage({ signedIn: true }),
    enter: (page) => page.click('[data-testid=sign-out]'),
  },
  {
    name: 'refused',
    ...{ view: 'needs_sign_in', from: 'signed_in', next: BOTH_WAYS, byItself: true },
    sentence: /no longer accepts the sign-in/,
    set: () => setStage({ before: stored }),
    enter: async (_, stage) => {
      await revoke(stage)
      await refresh(stage)
    },
    mend: { how: signIn, view: 'signed_in' },
  },
  {
    name: 'refused-not-durable',
    ...{ view: 'needs_sign_in', from: 'signed_in', next: BOTH_WAYS, byItself: true },
    sentence: /no longer accepts the sign-in/,
    problem: /next deployment[\s\S]*railway volume add/,
    set: () => setStage({ before: stored, env: RAILWAY }),
    enter: async (_, stage) => {
      await revoke(stage)
      await refresh(stage)
    },
  },
  {
    name: 'refused-yoto-unreachable',
    ...{ view: 'needs_sign_in', from: 'signed_in', next: BOTH_WAYS },
    sentence: /no longer accepts the sign-in/,
    problem: /Yoto cannot be reached|ECONNREFUSED/,
    set: () => setStage({ before: stored }),
    enter: async (page, stage) => {
      await revoke(stage)
      await refresh(stage)
      await page.locator('main[data-view=needs_sign_in]').waitFor()
      await stage.yoto.pause()
      await page.click('[data-testid=sign-in]')
    },
  },
  {
    name: 'refused-misconfigured',
    ...{ view: 'needs_sign_in', from: 'signed_in', next: BOTH_WAYS },
    sentence: /no longer accepts the sign-in/,
    problem: /invalid_client[\s\S]*yoto\.dev/,
    set: () => setStage({ before: stored }),
    enter: async (page, stage) => {
      await revoke(stage)
      await refresh(stage)
      await page.locator('main[data-view=needs_sign_in]').waitFor()
      stage.yoto.inject(INVALID_CLIENT, { path: '/oauth/device/code', times: 99 })
      await page.click('[data-testid=sign-in]')
    },
  },
  {
    name: 'token-unreadable',
    ...{ view: 'needs_sign_in', from: 'signed_in', next: BOTH_WAYS, byItself: true },
    sentence: /cannot be used: \.yoto_refresh_token/,
    problem: /the right file in its place/,
    set: () => setStage({ signedIn: true }),
    enter: async (_, { dir }) => writeFileSync(join(dir, '.yoto_refresh_token'), ''),
  },
  {
    name: 'unreachable',
    ...{ view: 'unreachable', from: 'signed_in', next: [], byItself: true },
    sentence: /cannot reach the service/,
    set: () => setStage({ signedIn: true }),
    enter: (_, { keeper }) => keeper.stop(),
    mend: { how: ({ restart }) => restart(), view: 'signed_in' },
  },
]
