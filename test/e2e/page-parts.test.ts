import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { Event } from '../../server/keeper/journal'
import { PAGE_FILES } from '../../server/page/files'
import { startBrowser } from '../support/browser'
import { type Demo, prepareDemo } from '../support/demo-parts'
import { freePort, type Keeper, startKeeper } from '../support/keeper-process'
import { type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// What the page has beside the state: history, checks, snippets, a way back from a code; and what it weighs.

const HOUR = 3_600_000
const KEY = 'owner-"key"-it\'s-0123456789' // with what shells and programs take for the end of a text
const find = (candidates: string[], argument: string) =>
  candidates.find((command) => spawnSync(command, [argument]).status === 0)
const curl = find(['curl'], '--version')
const python = find(['python3', '/usr/bin/python3'], '--version')

let browser: Browser
/** With the demo's players. */
let demo: Demo
let keeper: Keeper

beforeAll(async () => {
  browser = await startBrowser()
  demo = await prepareDemo(await freePort(), { interval: 1 })
  keeper = await startKeeper({ env: { ...demo.env, KEEPER_KEY: KEY } })
  keeper.url = keeper.url.replace('127.0.0.1', 'localhost')
  const { body } = await keeper.json<{ user_code: string }>('/api/auth/start', { method: 'POST' })
  await demo.yoto.approve(body.user_code)
  const isSignedIn = async () => (await keeper.json('/api/auth/status')).body.authenticated
  await waitUntil(isSignedIn, { what: 'somebody is signed in' })
})

afterAll(async () => {
  await browser?.close()
  await keeper?.stop()
  await demo?.yoto.stop()
})

/** A page, unlocked by the link, that fails the test on a script error or a breach of the content security policy. */
async function openPage(at: Keeper, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'], ...options })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => message.text().includes('Content Security Policy') && complaints.push(message.text()))
  onTestFinished(async () => {
    await context.close()
    expect(complaints).toEqual([])
  })
  await page.goto(`${at.url}/#key=${encodeURIComponent(at.key)}`)
  return page
}

const view = (page: Page, name: string) => page.waitForSelector(`main[data-view="${name}"]`)
const byId = (id: string) => `[data-testid=${id}]`
const textOf = async (page: Page, id: string) => ((await page.textContent(byId(id))) ?? '').trim()
const copied = (page: Page) => page.evaluate(() => navigator.clipboard.readText())

/** A keeper of its own, at which nobody has signed in, with a scriptable Yoto and a journal. */
async function startAlone(events: Event[] = []): Promise<{ keeper: Keeper; yoto: StandIn }> {
  const yoto = await startStandIn({ interval: 1 })
  onTestFinished(() => yoto.stop())
  const cwd = mkdtempSync(join(tmpdir(), 'keeper-page-'))
  onTestFinished(() => rmSync(cwd, { recursive: true, force: true }))
  writeFileSync(join(cwd, '.yoto_journal.json'), JSON.stringify(events))
  const port = String(await freePort())
  const env = { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url, PORT: port }
  const keeper = await startKeeper({ cwd, env })
  onTestFinished(async () => void (await keeper.stop()))
  keeper.url = `http://localhost:${port}`
  return { keeper, yoto }
}

function ago(hours: number, kind: Event['kind'], outcome: string, message: string, more: Partial<Event> = {}): Event {
  return { at: new Date(Date.now() - hours * HOUR).toISOString(), kind, outcome, message, ...more }
}

describe('the history', () => {
  it('shows what the journal says, as a picture and as a table', async () => {
    const { keeper } = await startAlone([
      ago(20 * 24, 'sign_in', 'success', 'Long ago.'),
      ago(10 * 24, 'sign_in', 'success', 'Signed in.'),
      ago(9.5 * 24, 'refresh', 'ok', 'Refreshed; valid until 2026-01-02T03:04:05.000Z.'),
      ago(6 * 24, 'refresh', 'not_sent', 'No <b>way</b>.', { count: 3, last_at: ago(140, 'stop', '', '').at }),
      ago(5 * 24, 'refresh', 'ok', 'Refreshed; valid for long.'),
      ago(4.5 * 24, 'sign_out', 'ok', 'Signed out.'),
    ])
    const page = await openPage(keeper, { timezoneId: 'Asia/Tokyo', locale: 'en-GB' })
    await view(page, 'signed_out')
    const picture = await page.waitForSelector(`${byId('timeline')} svg[role=img]`)
    expect(await picture.getAttribute('aria-label')).toBe(
      'Last two weeks: 1 sign-in, 2 refreshes, 3 failures, 1 sign-out, 2 gaps without a refresh.',
    )
    const drawn = (shape: string) => page.locator(`.timeline ${shape}`).count()
    expect(await drawn('path.sign_in')).toBe(1)
    expect(await drawn('path.refresh')).toBe(2)
    expect(await drawn('path.failure')).toBe(1)
    expect(await drawn('line.failure')).toBe(1) // to the last of the three
    expect(await drawn('path.sign_out')).toBe(1)
    expect(await drawn('rect.signed-in')).toBe(1)
    expect(await drawn('rect.gap')).toBe(2)
    expect(await drawn('line.now')).toBe(1)

    await page.click(`${byId('history')} summary`)
    const table = page.getByRole('table', { name: 'What happened, newest first' })
    const rows = await table.locator('tbody tr').allInnerTexts()
    const { events } = (await keeper.json<{ events: Event[] }>('/api/journal')).body
    expect(rows).toHaveLength(events.length - 1) // all but what is older than the window
    expect(await table.locator('thead th[scope=col]').allInnerTexts()).toEqual(['When', 'What happened'])
    expect(await table.locator('tbody th[scope=row] time').count()).toBe(rows.length)
    expect(rows.at(-1)).toContain('Sign-in Signed in.')
    expect(rows.find((row) => row.includes('<b>'))).toMatch(/Refresh No <b>way<\/b>\. 3 times, last /)
    // In the reader's time zone, nine hours ahead.
    expect(rows.join()).toContain('valid until Fri 2 Jan, 12:04')
    expect(rows.join()).not.toContain('Long ago')
  })

  it('goes on by itself, and is gone when the page is locked', async () => {
    const { keeper, yoto } = await startAlone()
    const page = await openPage(keeper)
    await view(page, 'signed_out')
    await page.waitForSelector('.timeline:not([aria-label*="sign-in"])')
    const { body } = await keeper.json<{ user_code: string }>('/api/auth/start', { method: 'POST' })
    yoto.approve(body.user_code)
    await view(page, 'signed_in')
    await page.waitForSelector('.timeline[aria-label*="1 sign-in"]')
    await page.click(byId('lock'))
    await view(page, 'locked')
    expect(await page.locator('.timeline, #history-rows tr').count()).toBe(0)
  })

  it('says that the history cannot be shown, and shows it when it can', async () => {
    const { keeper, yoto } = await startAlone()
    const page = await openPage(keeper)
    await page.route('**/api/journal', (route) => route.abort())
    await view(page, 'signed_out')
    await page.reload()
    await page.waitForSelector('#timeline:text("The history cannot be shown at the moment.")')
    expect(await page.isHidden('#history-details')).toBe(true)
    await page.unroute('**/api/journal')
    await page.click(byId('sign-in'))
    await view(page, 'signing_in')
    yoto.approve(await textOf(page, 'user-code'))
    await page.waitForSelector('.timeline[aria-label*="1 sign-in"]')
    expect(await page.isVisible('#history-details')).toBe(true)
  })
})

describe('the snippets', () => {
  /** As a person would run what was copied: in a new shell. */
  async function run(command: string, script: string, key = ''): Promise<string> {
    const { PATH = '', HOME = '' } = process.env
    const env = { PATH, HOME, ...(key && { KEEPER_KEY: key }) }
    const child = spawn(command, ['-'], { env, stdio: ['pipe', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    child.stdin.end(script)
    const [code] = await once(child, 'close')
    return `${code} ${output}`
  }

  it.runIf(curl)('for a shell runs as it was copied, with the key typed before or one of the environment', async () => {
    const page = await openPage(keeper)
    await view(page, 'signed_in')
    await page.click(byId('copy-shell'))
    await page.waitForSelector(`${byId('copy-shell')}:text("Copied")`)
    const withKey = await copied(page)
    expect(await run('sh', withKey)).toMatch(/^0 \{"devices":.*Kitchen/s)

    await page.reload()
    await view(page, 'signed_in')
    await page.click(byId('copy-shell'))
    await page.waitForSelector(`${byId('copy-shell')}:text("Copied")`)
    const without = await copied(page)
    expect(without).not.toBe(withKey)
    expect(await run('sh', without, KEY)).toMatch(/^0 \{"devices":.*Kitchen/s)
    expect(await run('sh', without)).toMatch(/set it to your key/)
  })

  it.runIf(python)('for Python runs as it was copied', async () => {
    const page = await openPage(keeper)
    await view(page, 'signed_in')
    await page.click(`${byId('snippet-python')} summary`)
    await page.click(byId('copy-python'))
    await page.waitForSelector(`${byId('copy-python')}:text("Copied")`)
    expect(await run(String(python), await copied(page))).toBe('0 Kitchen online\nBedroom “Mini” offline\n')
  })

  it('for Home Assistant has the calls of the example, and this address', async () => {
    const page = await openPage(keeper)
    await view(page, 'signed_in')
    await page.click(`${byId('snippet-homeAssistant')} summary`)
    await page.click(byId('copy-homeAssistant'))
    await page.waitForSelector(`${byId('copy-homeAssistant')}:text("Copied")`)
    const text = await copied(page)
    expect(text).toContain(`yoto_player: "${keeper.url}/api/yoto/device-v2/PLAYER_ID/config"`)
    expect(text).toContain(`yoto_keeper_authorization: ${JSON.stringify(`Bearer ${KEY}`)}`)
  })

  it('are copied where there is no https, and so no clipboard for pages', async () => {
    const page = await openPage(keeper)
    await page.addInitScript(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }))
    await page.goto('about:blank')
    await page.goto(`${keeper.url}/#key=${encodeURIComponent(keeper.key)}`)
    await view(page, 'signed_in')
    await page.click(`${byId('snippet-homeAssistant')} summary`)
    await page.click(byId('copy-homeAssistant'))
    await page.waitForSelector(`${byId('copy-homeAssistant')}:text("Copied")`)
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('copy-homeAssistant')
    await page.click(byId('lock'))
    await view(page, 'locked')
    await page.focus(byId('key-input'))
    await page.keyboard.press('Control+V')
    expect(await page.inputValue(byId('key-input'))).toContain(JSON.stringify(`Bearer ${KEY}`))
  })

  it('hide the key until it is asked for, and do not keep it', async () => {
    const page = await openPage(keeper)
    await view(page, 'signed_in')
    const isInMarkup = async () => (await page.textContent('html'))?.includes('0123456789')
    const shown = () => page.textContent('#snippet-shell')
    expect(await shown()).toMatch(/KEEPER_KEY='•+'/)
    expect(await isInMarkup()).toBe(false)
    await page.click('text=Show key')
    expect(await shown()).toContain('0123456789')
    await page.click('text=Hide key')
    expect(await isInMarkup()).toBe(false)
    expect(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie])).toEqual([0, 0, ''])

    await page.click('text=Show key')
    await page.click(byId('lock'))
    await view(page, 'locked')
    expect(await isInMarkup()).toBe(false)
    await page.fill(byId('key-input'), KEY)
    await page.keyboard.press('Enter')
    await view(page, 'signed_in')
    expect(await shown()).toMatch(/KEEPER_KEY='•+'/) // typed anew, and masked anew

    await page.reload()
    await view(page, 'signed_in')
    expect(await page.isHidden(byId('show-key'))).toBe(true)
    expect(await shown()).not.toContain('•')
    expect(await isInMarkup()).toBe(false)
  })
})

it('comes by the link straight to the state, and leaves the focus alone', async () => {
  const page = await openPage(keeper)
  await page.addInitScript(() => {
    const views: unknown[] = []
    Object.assign(window, { views })
    new MutationObserver(() => views.push(document.querySelector('main')?.dataset.view)).observe(document, {
      ...{ subtree: true, attributes: true, attributeFilter: ['data-view'] },
    })
  })
  await page.goto('about:blank')
  await page.goto(`${keeper.url}/#key=${encodeURIComponent(keeper.key)}`)
  await view(page, 'signed_in')
  expect(await page.evaluate(() => [Reflect.get(window, 'views'), document.activeElement?.tagName])).toEqual([
    ['signed_in'],
    'BODY',
  ])
})

describe('a code', () => {
  it('can be left for the other way, and still signs in', async () => {
    const { keeper, yoto } = await startAlone()
    const page = await openPage(keeper)
    await view(page, 'signed_out')
    await page.click(byId('sign-in'))
    await view(page, 'signing_in')
    const code = await textOf(page, 'user-code')
    expect(await textOf(page, 'back')).toBe('Sign in with one click instead')
    await page.click(byId('back'))
    await view(page, 'signed_out')
    expect(await page.isVisible(byId('login'))).toBe(true)
    await page.evaluate(() => window.dispatchEvent(new Event('online'))) // the page asks at once
    await page.waitForResponse((answer) => answer.url().endsWith('/api/auth/status'))
    expect(await page.getAttribute('main', 'data-view')).toBe('signed_out')
    yoto.approve(code)
    await view(page, 'signed_in')
  })

  it('that has run out is no longer shown, but how to get another', async () => {
    const { keeper } = await startAlone()
    const page = await openPage(keeper)
    await view(page, 'signed_out')
    await page.route('**/api/auth/start', async (route) => {
      const response = await route.fetch()
      await route.fulfill({ json: { ...(await response.json()), expires_in: 1 } })
    })
    await page.click(byId('sign-in'))
    await view(page, 'signing_in')
    await page.waitForSelector(
      `${byId('state-sentence')}:text("The code has run out. Press “Start over” for a new one.")`,
    )
    expect(await page.isHidden(byId('user-code'))).toBe(true)
    expect(await page.isHidden(byId('verification-link'))).toBe(true)
    await page.unroute('**/api/auth/start')
    await page.click(byId('start-over'))
    await page.waitForSelector(byId('user-code'))
    expect(await textOf(page, 'countdown')).toMatch(/^(5:00|4:5\d)$/)
  })

  it.each([
    ['expire', /run out|expired/i, 'Press “Use a code” for a new one.'],
    ['deny', /denied/i, 'Press “Use a code” for a new one, and allow it this time.'],
  ] as const)('that comes to %s says so, and what to do, until somebody does', async (how, sentence, next) => {
    const { keeper, yoto } = await startAlone()
    const page = await openPage(keeper)
    await view(page, 'signed_out')
    await page.click(byId('sign-in'))
    await view(page, 'signing_in')
    yoto[how](await textOf(page, 'user-code'))
    await view(page, 'signed_out')
    expect(await textOf(page, 'login-result')).toMatch(sentence)
    expect(await textOf(page, 'login-result')).toContain(next)
    await page.evaluate(() => window.dispatchEvent(new Event('online')))
    await page.waitForResponse((answer) => answer.url().endsWith('/api/auth/status'))
    expect(await page.isVisible(byId('login-result'))).toBe(true)
    await page.click(byId('sign-in'))
    await view(page, 'signing_in')
    expect(await page.isHidden(byId('login-result'))).toBe(true)
  })
})

describe('"Check everything"', () => {
  const CHECKS = [
    { name: 'store', ok: true, message: 'The store can be written.' },
    { name: 'yoto', ok: false, message: 'Yoto cannot be reached.', hint: 'Look at <i>YOTO_AUTH_URL</i>.' },
    { name: 'clock', ok: true, message: 'The clock is right.' },
  ]

  it('lists problems first, with what to do, and says how it went', async () => {
    const page = await openPage(keeper)
    await view(page, 'signed_in')
    await page.route('**/api/doctor', (route) => route.fulfill({ json: { checks: CHECKS } }))
    await page.click(byId('doctor-run'))
    await page.waitForSelector(`${byId('doctor-checks')} li`)
    expect(await page.getByRole('status').innerText()).toBe('1 problem found.')
    expect(await page.locator(`${byId('doctor-checks')} li`).allInnerTexts()).toEqual([
      expect.stringMatching(/^Problem:\s+Yoto cannot be reached\.\s+Look at <i>YOTO_AUTH_URL<\/i>\.$/),
      expect.stringMatching(/^Well:\s+The store can be written\.$/),
      expect.stringMatching(/^Well:\s+The clock is right\.$/),
    ])
    await page.unroute('**/api/doctor')
    await page.route('**/api/doctor', (route) => route.fulfill({ json: { checks: CHECKS.filter(({ ok }) => ok) } }))
    await page.click(byId('doctor-run'))
    await page.waitForSelector(`${byId('doctor-outcome')}:text("2 checks, and all is well.")`)
    expect(await page.locator(`${byId('doctor-checks')} li`).count()).toBe(2)
  })

  it('shows what the service itself finds, with its commands as such', async () => {
    chmodSync(join(keeper.cwd, '.yoto_refresh_token'), 0o644)
    onTestFinished(() => chmodSync(join(keeper.cwd, '.yoto_refresh_token'), 0o600))
    const { body } = await keeper.json<{ checks: { name: string; ok: boolean; message: string }[] }>('/api/doctor')
    const page = await openPage(keeper)
    await view(page, 'signed_in')
    await page.click(byId('doctor-run'))
    await page.waitForSelector(`${byId('doctor-checks')} li`)
    const shown = (await page.locator(`${byId('doctor-checks')} li`).allInnerTexts()).join('\n')
    for (const { message } of body.checks) expect(shown).toContain(message)
    const command = page.locator(`${byId('doctor-checks')} .not-ok code`, { hasText: 'chmod 600' })
    expect(await command.innerText()).toBe(`chmod 600 ${join(keeper.cwd, '.yoto_refresh_token')}`)
    expect(await page.locator(`${byId('doctor-checks')} li.check`).count()).toBe(body.checks.length)
  })

  it('says plainly that it did not work', async () => {
    const page = await openPage(keeper)
    await view(page, 'signed_in')
    const json = { error: 'not_found', message: 'There is nothing here.', hint: 'See /docs.' }
    await page.route('**/api/doctor', (route) => route.fulfill({ status: 404, json }))
    await page.click(byId('doctor-run'))
    await page.waitForSelector(`${byId('doctor-outcome')}:text("There is nothing here. See /docs.")`)
    expect(await page.isHidden(byId('doctor-checks'))).toBe(true)
    expect(await page.getAttribute(byId('doctor-run'), 'aria-disabled')).toBe(null)
  })
})

describe('over the wire', () => {
  /** As many events as the journal keeps, no two of them alike. */
  const full = Array.from({ length: 499 }, (_, at) =>
    at % 3
      ? ago(330 - at / 2, 'refresh', 'ok', `Refreshed; valid until ${ago(306 - at / 2, 'start', '', '').at}.`)
      : ago(330 - at / 2, 'refresh', 'not_sent', `Yoto cannot be reached (try ${at}).`),
  )

  it.each([
    ['signing_in', '#scan:not([hidden])', ['/api/auth/status']],
    ['signed_in', '.timeline', ['/api/auth/status', '/api/journal']],
  ])(
    '%s: the page with all that it asks for is under 40 kB, and nothing comes from elsewhere',
    async (state, last, asked) => {
      const { keeper, yoto } = await startAlone(full)
      const { body } = await keeper.json<{ user_code: string }>('/api/auth/start', { method: 'POST' })
      const first = await openPage(keeper)
      await view(first, 'signing_in')
      if (state === 'signed_in') yoto.approve(body.user_code)
      await view(first, state)
      // Unlocked now, so that this visit asks for all there is.
      const page = await first.context().newPage()
      const network = await page.context().newCDPSession(page)
      await network.send('Network.enable')
      await network.send('Network.setCacheDisabled', { cacheDisabled: true })
      const addresses = new Map<string, string>()
      const sizes = new Map<string, number>()
      network.on('Network.responseReceived', ({ requestId, response }) => addresses.set(requestId, response.url))
      network.on('Network.loadingFinished', ({ requestId, encodedDataLength }) =>
        sizes.set(requestId, encodedDataLength),
      )
      await page.goto(`${keeper.url}/`)
      await page.waitForSelector(last)
      const remote = () => [...addresses].filter(([, url]) => !url.startsWith('data:'))
      await waitUntil(() => remote().every(([id]) => sizes.has(id)), { what: 'every answer has come' })
      for (const [, url] of remote()) expect(new URL(url).origin).toBe(keeper.url)
      const paths = remote().map(([, url]) => new URL(url).pathname)
      expect(paths).toEqual(expect.arrayContaining([...PAGE_FILES, ...asked]))
      const total = remote().reduce((sum, [id]) => sum + (sizes.get(id) ?? 0), 0) // headers included
      console.log(`${state}: ${total} bytes over the wire, in ${paths.length} answers`)
      expect(total).toBeGreaterThan(10_000)
      expect(total).toBeLessThan(40_000)
    },
  )

  it.each(PAGE_FILES)('%s comes compressed to those who take that, and a second time not at all', async (path) => {
    const get = (headers: Record<string, string>) => fetch(keeper.url + path, { headers })
    const plain = await get({ 'accept-encoding': 'identity' })
    const packed = await get({ 'accept-encoding': 'br, gzip;q=0.5' })
    expect(packed.headers.get('content-encoding')).toBe('gzip')
    expect(plain.headers.get('content-encoding')).toBe(null)
    expect((await get({ 'accept-encoding': 'gzip;q=0, br' })).headers.get('content-encoding')).toBe(null)
    const text = await plain.text()
    expect(await packed.text()).toBe(text)
    expect(text.length).toBeGreaterThan(500)
    if (/\.(js|css)$/.test(path)) expect(text).not.toMatch(/^\s*(\/\/|\/\*|\*)/m) // minified
    for (const { headers } of [plain, packed]) {
      expect(headers.get('vary')).toBe('accept-encoding')
      expect(headers.get('cache-control')).toBe('no-cache')
    }
    const etag = String(packed.headers.get('etag'))
    expect(etag).toMatch(/^W\/"[0-9a-f]{24}"$/)
    for (const known of [etag, `"other", ${etag.slice(2)}`, '*']) {
      const again = await get({ 'if-none-match': known })
      expect([again.status, await again.text()]).toEqual([304, ''])
      expect(again.headers.get('etag')).toBe(etag)
    }
    expect((await get({ 'if-none-match': '"other"' })).status).toBe(200)
  })
})
