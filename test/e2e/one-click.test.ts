import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../support/authorization-server'
import { startBrowser } from '../support/browser'
import { freePort, type Keeper, startKeeper } from '../support/keeper-process'

// What a person does: click, log in at the authorization server, consent, and be back on the page, signed in.

let browser: Browser
let yoto: AuthorizationServer
let keeper: Keeper

beforeAll(async () => {
  const port = String(await freePort())
  const redirectUris = [`http://localhost:${port}/api/auth/callback`]
  yoto = await startAuthorizationServer({ redirectUris, interval: 1 })
  keeper = await startKeeper({ env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, PORT: port } })
  keeper.url = `http://localhost:${port}` // another site than Yoto's 127.0.0.1, as it is in life: cookies' SameSite counts
  browser = await startBrowser()
})
afterAll(async () => {
  await browser?.close()
  await keeper?.stop()
  await yoto?.stop()
})

async function openPage(path = `/#key=${keeper.key}`): Promise<{ page: Page; complaints: string[] }> {
  const page = await (await browser.newContext()).newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    // The browser itself reports every answer of 4xx; the page expects a 401 while it is locked.
    const isOurs = message.location().url.startsWith(keeper.url)
    if (isOurs && message.type() === 'error' && !message.text().includes('status of 401'))
      complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(keeper.url + path)
  return { page, complaints }
}

const view = (page: Page, name: string) => page.waitForSelector(`main[data-view="${name}"]`)
const result = (page: Page) =>
  page.waitForSelector('[data-testid=login-result]:not([hidden])').then((node) => node.textContent())

/** At the authorization server: logs in where it is asked, and agrees, until it sends the browser back. */
async function agree(page: Page, account: string): Promise<void> {
  await page.waitForURL(`${yoto.url}/**`)
  while (page.url().startsWith(yoto.url)) {
    const form = page.locator('form button[type=submit]').first()
    if (await page.locator('input[name=login]').count()) {
      await page.fill('input[name=login]', account)
      await page.fill('input[name=password]', 'any')
    }
    const left = page.waitForNavigation()
    await form.click()
    await left
  }
  await page.waitForLoadState()
}

describe('one click', () => {
  afterEach(async () => {
    await keeper.fetch('/api/auth/logout', { method: 'POST' })
  })

  it('signs in: click, log in, consent, back, signed in; and out again', async () => {
    const { page, complaints } = await openPage()
    await view(page, 'signed_out')
    expect(await page.textContent('[data-testid=redirect-uri]')).toBe(`${keeper.url}/api/auth/callback`)
    await page.click('[data-testid=login]')
    await agree(page, 'parent@example.test')
    await view(page, 'signed_in')
    expect(page.url()).toBe(`${keeper.url}/`)
    expect(await result(page)).toBe('You are signed in to Yoto.')
    expect(await page.textContent('[data-testid=account]')).toContain('parent@example.test')
    const cookies = await page.context().cookies(`${keeper.url}/api/auth/callback`)
    const ours = cookies.map(({ name }) => name).filter((name) => name.startsWith('keeper_')) // ports share their cookies
    expect(ours).toEqual(['keeper_session'])
    await page.reload()
    await view(page, 'signed_in')
    expect(await page.isHidden('[data-testid=login-result]')).toBe(true)
    await page.click('[data-testid=sign-out]')
    await page.click('[data-testid=confirm-sign-out]')
    await view(page, 'signed_out')
    expect(complaints).toEqual([])
    await page.context().close()
  })

  it('ends on the page with one sentence when the person refuses, and offers both ways again', async () => {
    const { page, complaints } = await openPage()
    await view(page, 'signed_out')
    await page.click('[data-testid=login]')
    await page.waitForURL(`${yoto.url}/**`)
    await page.locator('a[href*=abort]').click()
    await view(page, 'signed_out')
    expect(await result(page)).toBe('Access was denied at Yoto. Sign in again and allow it.')
    expect(page.url()).toBe(`${keeper.url}/`)
    expect(await page.isVisible('[data-testid=login]')).toBe(true)
    expect(await page.isVisible('[data-testid=sign-in]')).toBe(true)
    expect(complaints).toEqual([])
    await page.context().close()
  })

  it('signs in though the page was locked meanwhile, and says so on the locked page', async () => {
    const { page } = await openPage()
    await view(page, 'signed_out')
    await page.click('[data-testid=login]')
    await page.waitForURL(`${yoto.url}/**`)
    expect((await keeper.fetch('/api/access/lock', { method: 'POST' })).status).toBe(200)
    await agree(page, 'locked-out')
    await view(page, 'locked')
    expect(await result(page)).toBe('You are signed in to Yoto.')
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ state: 'signed_in', account: 'locked-out' })
    await page.context().close()
  })

  it('says plainly that the account is another one', async () => {
    const { page } = await openPage()
    await view(page, 'signed_out')
    await page.click('[data-testid=login]')
    await agree(page, 'parent')
    await view(page, 'signed_in')
    await page.context().clearCookies({ name: /^_/ }) // another person at the authorization server
    await page.goto(`${keeper.url}/api/auth/login`)
    await agree(page, 'somebody-else')
    await view(page, 'signed_in')
    expect(await result(page)).toMatch(/^You are signed in to another Yoto account than before\./)
    await page.context().close()
  })

  it.each([
    ['not_allowed', /Use a code instead/],
    ['denied', /Sign in again/],
    ['expired', /Sign in again/],
    ['used', /sign in again/],
    ['unexpected', /Press “Sign in to Yoto”/],
    ['wrong_scope', /YOTO_SCOPE/],
    ['unreachable', /Try again in a minute/],
    ['failed', /log says why/],
    ['not_begun', /Try again/],
  ])('the page has a sentence for %s, and both ways to go on', async (ending, sentence) => {
    const { page } = await openPage()
    await view(page, 'signed_out')
    await page.goto('about:blank')
    await page.goto(`${keeper.url}/#sign-in=${ending}`)
    await view(page, 'signed_out')
    expect(await result(page)).toMatch(sentence)
    expect(page.url()).toBe(`${keeper.url}/`)
    expect(await page.isVisible('[data-testid=login]')).toBe(true)
    expect(await page.isVisible('[data-testid=sign-in]')).toBe(true)
    await page.context().close()
  })

  it('copies the address to register, and takes no sentence from a link', async () => {
    const { page } = await openPage()
    await view(page, 'signed_out')
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.click('summary')
    await page.click('[data-testid=copy-redirect-uri]')
    await page.waitForSelector('[data-testid=copy-redirect-uri]:text("Copied")')
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(`${keeper.url}/api/auth/callback`)
    await page.goto(`${keeper.url}/#sign-in=%3Cb%3Ehello%3C/b%3E`)
    await page.reload()
    await view(page, 'signed_out')
    expect(await page.isHidden('[data-testid=login-result]')).toBe(true)
    await page.context().close()
  })

  it('fits a phone of 320 pixels', async () => {
    const { page } = await openPage()
    await page.setViewportSize({ width: 320, height: 640 })
    await view(page, 'signed_out')
    await page.click('summary')
    expect(await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)).toBeLessThanOrEqual(0)
    await page.context().close()
  })
})
