import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser } from '../support/browser'
import { entryOf, type Preset, setScene } from './scene'

// The page of a function, whose polls finish the sign-in.

const presets: Preset[] = ['vercel', 'netlify', 'aws-lambda']

let browser: Browser
beforeAll(async () => {
  await Promise.all(presets.map(entryOf))
  browser = await startBrowser()
})
afterAll(() => browser.close())

describe.each(presets)('%s', (preset) => {
  it('signs in with the printed link alone, and says that the tab has to stay open', async (context) => {
    const { yoto, start, stored } = await setScene(context, preset, 'nobody')
    const keeper = await start({ KEEPER_KEY: '', PUBLIC_URL: 'https://keeper.example' })
    await (await fetch(`${keeper.url}/api/auth/status`)).text()
    const key = /https:\/\/keeper\.example\/#key=(\w+)/.exec(keeper.log())?.[1]

    const page = await browser.newPage()
    context.onTestFinished(() => page.close())
    await page.goto(`${keeper.url}/#key=${key}`)
    await page.waitForSelector('main[data-view="signed_out"]')
    await page.click('[data-testid=sign-in]')
    await page.waitForSelector('main[data-view="signing_in"]')
    expect(await page.textContent('[data-testid=advice]')).toMatch(/^Keep this tab open/)
    yoto.approve((await page.textContent('[data-testid=user-code]'))?.trim() ?? '')
    await page.waitForSelector('main[data-view="signed_in"]')
    expect(await stored('.yoto_refresh_token')).toBe(yoto.currentRefreshToken())
  })

  it('shows which variables to set where there is no store', async (context) => {
    const scene = await setScene(context, preset, 'nobody')
    scene.store = {}
    const keeper = await scene.start()
    const page = await browser.newPage()
    context.onTestFinished(() => page.close())
    await page.goto(keeper.url)
    await page.waitForSelector('main[data-view="not_configured"]')
    expect(await page.textContent('main')).toContain(
      'UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN, or REDIS_URL',
    )
  })
})
