import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../support/authorization-server'
import { startBrowser } from '../support/browser'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

// What a person does: open the printed link, sign in with a code at the authorization server, and see it on the page.

let browser: Browser
let yoto: AuthorizationServer

beforeAll(async () => {
  browser = await startBrowser()
  yoto = await startAuthorizationServer({ interval: 1 })
})

afterAll(async () => {
  await browser?.close()
  await yoto?.stop()
})

const environment = () => ({ YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url })

/** A page that fails the test on a script error, a breach of the content security policy or a request to another host. */
async function openPage(
  context: BrowserContext,
  keeper: Keeper,
  path: string,
): Promise<{ page: Page; complaints: string[] }> {
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    // The browser itself reports every answer of 4xx; the page expects a 401 while it is locked.
    if (message.type() === 'error' && !message.text().includes('status of 401')) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('request', (request) => {
    if (!request.url().startsWith(keeper.url) && !request.url().startsWith('data:')) complaints.push(request.url())
  })
  await page.goto(keeper.url + path)
  return { page, complaints }
}

/** From the link in the log. */
const printedKey = (keeper: Keeper) => /http:\/\/localhost:\d+\/#key=(\S+)/.exec(keeper.log())?.[1]

const view = (page: Page, name: string) => page.waitForSelector(`main[data-view="${name}"]`)

/** The person's other tab, or phone: enters the code at the authorization server, logs in and consents. */
async function approveInBrowser(link: string, account: string): Promise<void> {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(link)
  for (let step = 0; step < 6; step++) {
    if (await page.locator('input[name=login]').count()) {
      await page.fill('input[name=login]', account)
      await page.fill('input[name=password]', 'any')
    }
    const button = page.locator('button[type=submit]').first()
    if (!(await button.count())) break
    await Promise.all([page.waitForLoadState('load'), button.click()])
    await page.waitForLoadState('networkidle')
  }
  await context.close()
}

describe('a first start', () => {
  it('needs no set-up: link, code, approval, signed in without a reload, sign out', async () => {
    const keeper = await startKeeper({ env: { ...environment(), KEEPER_KEY: '' } })
    const key = await waitUntil(() => printedKey(keeper), { what: 'a link is printed' })
    expect(key).toMatch(/^[0-9a-f]{64}$/)

    const context = await browser.newContext()
    const { page, complaints } = await openPage(context, keeper, `/#key=${key}`)
    await view(page, 'signed_out')
    expect(page.url()).toBe(`${keeper.url}/`)

    await page.evaluate(() => Object.assign(window, { stillTheSamePage: true }))
    await page.click('[data-testid=sign-in]')
    await view(page, 'signing_in')
    const code = (await page.textContent('[data-testid=user-code]'))?.trim() ?? ''
    expect(code).toMatch(/^[A-Z-]{4,}/)
    const link = await page.getAttribute('[data-testid=verification-link]', 'href')
    expect(link).toContain(yoto.url)
    expect(await page.textContent('[data-testid=countdown]')).toMatch(/^\d+:\d\d$/)
    expect(await page.textContent('[data-testid=advice]')).toMatch(/^You may close this tab/)

    await approveInBrowser(link ?? '', 'parent@example.test')
    await view(page, 'signed_in')
    expect(await page.evaluate(() => 'stillTheSamePage' in window)).toBe(true)
    expect(await page.textContent('[data-testid=account]')).toContain('parent@example.test')
    expect(await page.textContent('[data-testid=storage-place]')).toContain(keeper.cwd)

    const authorization = `Bearer ${key}`
    const token = (await keeper.json<{ access_token: string }>('/api/token', { headers: { authorization } })).body
      .access_token
    const accepted = await fetch(`${yoto.url}/v1/whoami`, { headers: { authorization: `Bearer ${token}` } })
    expect(accepted.status).toBe(200)

    await page.click('[data-testid=sign-out]')
    await page.click('[data-testid=confirm-sign-out]')
    await view(page, 'signed_out')
    expect((await keeper.json('/api/token', { headers: { authorization } })).status).toBe(409)
    expect(complaints).toEqual([])
    await context.close()
    await keeper.stop()
  })

  it('prints its link until it has been used, and not again', async () => {
    const first = await startKeeper({ env: { ...environment(), KEEPER_KEY: '' } })
    const key = await waitUntil(() => printedKey(first), { what: 'a link is printed' })
    expect(statSync(join(first.cwd, '.yoto_keeper_key')).mode & 0o777).toBe(0o600)
    await first.stop()

    const second = await startKeeper({ cwd: first.cwd, env: { ...environment(), KEEPER_KEY: '' } })
    await waitUntil(() => printedKey(second) === key, { what: 'the same link is printed' })
    const body = JSON.stringify({ key })
    expect((await fetch(`${second.url}/api/access/unlock`, { method: 'POST', body })).status).toBe(200)
    await second.stop()

    const third = await startKeeper({ cwd: first.cwd, env: { ...environment(), KEEPER_KEY: '' } })
    await waitUntil(() => third.log().includes('Yoto Token Keeper:'), { what: 'the start is announced' })
    await third.stop()
    expect(printedKey(third)).toBeUndefined()
  })
})

describe('the page', () => {
  it('asks for the key, takes no wrong one, and locks again', async () => {
    const keeper = await startKeeper({ env: environment() })
    const context = await browser.newContext()
    const { page, complaints } = await openPage(context, keeper, '/')
    await view(page, 'locked')
    await page.fill('[data-testid=key-input]', 'not-the-key-but-long-enough')
    await page.keyboard.press('Enter')
    await page.waitForSelector('[data-testid=problem]:not([hidden])')
    await page.fill('[data-testid=key-input]', keeper.key)
    await page.keyboard.press('Enter')
    await view(page, 'signed_out')
    await page.reload()
    await view(page, 'signed_out')
    const [cookie] = await context.cookies()
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' })
    await page.click('[data-testid=lock]')
    await view(page, 'locked')
    await page.reload()
    await view(page, 'locked')
    expect(complaints).toEqual([])
    await context.close()
    await keeper.stop()
  })

  it('finishes a sign-in whose tab was closed, and says so when access was denied', async () => {
    const keeper = await startKeeper({ env: environment() })
    const context = await browser.newContext()
    const { page } = await openPage(context, keeper, `/#key=${keeper.key}`)
    await page.click('[data-testid=sign-in]')
    await view(page, 'signing_in')
    await yoto.deny((await page.textContent('[data-testid=user-code]'))?.trim() ?? '')
    await page.waitForSelector('[data-testid=login-result]:not([hidden])')
    expect(await page.textContent('[data-testid=login-result]')).toMatch(/denied/i)

    await page.click('[data-testid=sign-in]')
    await view(page, 'signing_in')
    const code = (await page.textContent('[data-testid=user-code]'))?.trim() ?? ''
    await page.close()
    await yoto.approve(code, 'closed-tab')
    const again = await openPage(context, keeper, '/')
    await view(again.page, 'signed_in')
    expect(await again.page.textContent('[data-testid=account]')).toContain('closed-tab')
    await context.close()
    await keeper.stop()
  })

  it('says how to get a client id when there is none', async () => {
    const keeper = await startKeeper({ env: {} })
    const context = await browser.newContext()
    const { page } = await openPage(context, keeper, `/#key=${keeper.key}`)
    await view(page, 'not_configured')
    expect(await page.textContent('main')).toContain('yoto.dev')
    await context.close()
    await keeper.stop()
  })

  it('fits a phone of 320 pixels in every view', async () => {
    const keeper = await startKeeper({ env: environment() })
    const context = await browser.newContext({ viewport: { width: 320, height: 640 } })
    const { page } = await openPage(context, keeper, '/')
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
    await view(page, 'locked')
    expect(await overflow()).toBeLessThanOrEqual(0)
    await page.fill('[data-testid=key-input]', keeper.key)
    await page.keyboard.press('Enter')
    await view(page, 'signed_out')
    expect(await overflow()).toBeLessThanOrEqual(0)
    await page.click('[data-testid=sign-in]')
    await view(page, 'signing_in')
    expect(await overflow()).toBeLessThanOrEqual(0)
    await yoto.approve((await page.textContent('[data-testid=user-code]'))?.trim() ?? '')
    await view(page, 'signed_in')
    expect(await overflow()).toBeLessThanOrEqual(0)
    await context.close()
    await keeper.stop()
  })
})

describe('secrets', () => {
  it('reach no log line', async () => {
    const keeper = await startKeeper({ env: environment() })
    const start = await keeper.json<{ device_code: string; user_code: string }>('/api/auth/start', { method: 'POST' })
    const [login] = readLogins(keeper.cwd)
    await yoto.approve(start.body.user_code)
    const poll = () =>
      keeper.json<{ status: string }>('/api/auth/poll', { method: 'POST', body: JSON.stringify(start.body) })
    await expect.poll(async () => (await poll()).body.status, { timeout: 15_000 }).toBe('success')
    const token = (await keeper.json<{ access_token: string }>('/api/token')).body.access_token
    const refreshToken = readFileSync(join(keeper.cwd, '.yoto_refresh_token'), 'utf8')
    await keeper.fetch(`/api/token?access_token=${token}&code=${start.body.user_code}`)
    await keeper.fetch(`/api/nothing?key=${keeper.key}`)
    await keeper.fetch('/api/token', { headers: { authorization: 'Bearer wrong-key-wrong-key' } })
    await keeper.json('/api/auth/logout', { method: 'POST' })
    await keeper.stop()
    const secrets = [
      login?.device_code,
      start.body.device_code,
      start.body.user_code,
      token,
      refreshToken,
      keeper.key,
      'wrong-key',
    ]
    for (const secret of secrets) {
      expect(secret).toMatch(/.{8,}/)
      expect(keeper.log()).not.toContain(secret)
    }
    expect(readFileSync(join(keeper.cwd, '.yoto_journal.json'), 'utf8')).not.toContain(refreshToken)
  })
})

function readLogins(folder: string): { device_code: string }[] {
  const names = readdirSync(folder).filter((name) => /^\.yoto_login_.*json$/.test(name))
  return names.map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
}
