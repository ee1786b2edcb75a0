import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { type AuthorizationServer, startAuthorizationServer } from '../support/authorization-server'
import { startBrowser } from '../support/browser'
import { freePort, type Keeper, startKeeper } from '../support/keeper-process'
import { startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// The whole life of a sign-in by keyboard: nothing is clicked, filled or focused from outside, and what is focused can be seen.

/** So many presses of Tab at most, to anywhere on the page. */
const REACH = 20

let browser: Browser
beforeAll(async () => {
  browser = await startBrowser()
})
afterAll(() => browser?.close())

const view = (page: Page, name: string) => page.waitForSelector(`main[data-view="${name}"]`)

/** What has the focus, and whether a person can see that. */
const focused = (page: Page) =>
  page.evaluate(() => {
    const element = document.activeElement
    if (!(element instanceof HTMLElement) || element === document.body) return { id: '', name: '', isVisible: false }
    const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(element)
    const box = element.getBoundingClientRect()
    const isTransparent = outlineColor === 'transparent' || /, 0\)$/.test(outlineColor)
    const isOutlined = outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 1 && !isTransparent
    const isOnScreen = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < window.innerHeight
    return {
      id: element.dataset.testid ?? element.id,
      name: element.getAttribute('name') ?? '',
      isVisible: isOutlined && isOnScreen,
    }
  })

/** Focused now, without a key pressed for it, and to be seen. */
async function expectFocus(page: Page, id: string): Promise<void> {
  await waitUntil(async () => (await focused(page)).id === id, { what: `${id} had the focus` })
  expect(await focused(page), 'is to be seen').toMatchObject({ isVisible: true })
}

/** Tab until it has the focus. Whatever is passed on the way shows that it has it. */
async function tabTo(page: Page, id: string): Promise<void> {
  const passed: string[] = []
  for (let presses = 0; presses < REACH; presses++) {
    await page.keyboard.press('Tab')
    const at = await focused(page)
    passed.push(at.id)
    // Past the last one the focus leaves the page for the browser's own controls.
    if (at.id) expect(at, 'is to be seen').toMatchObject({ isVisible: true })
    if (at.id === id) return
  }
  throw new Error(`${id} was not reached by Tab, only ${passed.join(', ')}`)
}

async function press(page: Page, id: string, key: 'Enter' | 'Space' = 'Enter'): Promise<void> {
  await tabTo(page, id)
  await page.keyboard.press(key)
}

async function openLocked({ onTestFinished }: TestContext, keeper: Keeper): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1000 }, reducedMotion: 'reduce' })
  onTestFinished(() => context.close())
  const page = await context.newPage()
  await page.goto(keeper.url)
  await view(page, 'locked')
  return page
}

async function unlock(page: Page, { key }: Keeper): Promise<void> {
  await expectFocus(page, 'key-input')
  await page.keyboard.type(key)
  await page.keyboard.press('Enter')
}

describe.concurrent('by keyboard alone', () => {
  it('unlock, sign in by code, refresh, sign out, lock', async (context) => {
    const yoto = await startStandIn({ interval: 1 })
    context.onTestFinished(yoto.stop)
    const keeper = await startKeeper({
      env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url },
    })
    context.onTestFinished(async () => {
      await keeper.kill()
    })
    const page = await openLocked(context, keeper)

    await expectFocus(page, 'key-input')
    await page.keyboard.type('not-the-key-but-long-enough')
    await press(page, 'unlock')
    await page.locator('[data-testid=problem]:visible').waitFor()
    await unlock(page, keeper) // the wrong one is selected: the right one replaces it
    await view(page, 'signed_out')
    await expectFocus(page, 'view-name')

    await press(page, 'sign-in')
    await view(page, 'signing_in')
    await expectFocus(page, 'view-name')
    const first = await page.textContent('[data-testid=user-code]')
    await press(page, 'start-over', 'Space')
    const code = page.locator('[data-testid=user-code]')
    await waitUntil(async () => (await code.textContent()) !== first, { what: 'there was a new code' })
    await expectFocus(page, 'start-over')
    yoto.approve((await code.textContent())?.trim() ?? '')
    await view(page, 'signed_in')
    await expectFocus(page, 'view-name') // what had the focus is gone

    const refreshed = page.waitForResponse((response) => response.url().endsWith('/api/auth/refresh'))
    await press(page, 'refresh-now', 'Space')
    expect((await refreshed).status()).toBe(200)
    await expectFocus(page, 'refresh-now')

    const dialog = page.locator('dialog[open]')
    await press(page, 'sign-out')
    await dialog.waitFor()
    await tabTo(page, 'confirm-sign-out')
    await tabTo(page, 'cancel-sign-out') // and never out of the dialog into the page behind it
    for (let presses = 0; presses < REACH; presses++) {
      await page.keyboard.press('Tab')
      expect(['', 'confirm-sign-out', 'cancel-sign-out']).toContain((await focused(page)).id)
    }
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
    await expectFocus(page, 'sign-out')
    await page.keyboard.press('Enter')
    await dialog.waitFor()
    await press(page, 'cancel-sign-out')
    await dialog.waitFor({ state: 'detached' })
    await expectFocus(page, 'sign-out')
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ state: 'signed_in' })

    await page.keyboard.press('Enter')
    await press(page, 'confirm-sign-out', 'Space')
    await view(page, 'signed_out')
    await expectFocus(page, 'view-name')
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ state: 'signed_out' })

    await press(page, 'lock')
    await view(page, 'locked')
    await expectFocus(page, 'key-input')
  })

  it('one click: to Yoto’s own pages and back, signed in', async (context) => {
    const port = String(await freePort())
    const redirectUris = [`http://localhost:${port}/api/auth/callback`]
    const yoto = await startAuthorizationServer({ redirectUris, interval: 1 })
    context.onTestFinished(yoto.stop)
    const keeper = await startKeeper({
      env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url, PORT: port },
    })
    context.onTestFinished(async () => {
      await keeper.kill()
    })
    keeper.url = `http://localhost:${port}` // another site than Yoto's 127.0.0.1, as it is in life: cookies' SameSite counts
    const page = await openLocked(context, keeper)
    await unlock(page, keeper)
    await view(page, 'signed_out')

    await press(page, 'login')
    await page.waitForURL(`${yoto.url}/**`)
    await agree(page, yoto)
    await view(page, 'signed_in')
    await page.locator('[data-testid=login-result]:visible').waitFor()
    expect((await keeper.json('/api/auth/status')).body).toMatchObject({ account: 'parent@example.test' })

    await press(page, 'lock')
    await view(page, 'locked')
    await unlock(page, keeper)
    await view(page, 'signed_in')
  })
})

/** At the authorization server, whose own look is not ours to judge: logs in, and consents, until it sends the browser back. */
async function agree(page: Page, { url }: AuthorizationServer): Promise<void> {
  const tabToName = async (name: string) => {
    for (let presses = 0; presses < REACH && (await focused(page)).name !== name; presses++) {
      await page.keyboard.press('Tab')
    }
    expect((await focused(page)).name).toBe(name)
  }
  while (page.url().startsWith(url)) {
    const left = page.waitForNavigation()
    if (await page.locator('input[name=login]').count()) {
      await tabToName('login')
      await page.keyboard.type('parent@example.test')
      await tabToName('password')
      await page.keyboard.type('any')
      await page.keyboard.press('Enter')
    } else {
      const isOnSubmit = () => page.evaluate(() => document.activeElement?.matches('button[type=submit]') ?? false)
      for (let presses = 0; presses < REACH && !(await isOnSubmit()); presses++) await page.keyboard.press('Tab')
      expect(await isOnSubmit()).toBe(true)
      await page.keyboard.press('Enter')
    }
    await left
  }
}
