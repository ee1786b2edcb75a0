import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults, RunOptions } from 'axe-core'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startBrowser } from '../support/browser'
import { openIn, type PageState, pageStates, shows, type View } from '../support/page-states'

// Every state of the page, in a browser: what it says, what it offers, that it notices by itself, that everybody can read it, and that it
// asks nobody but its own service.

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const HEADINGS: Record<View, RegExp> = {
  locked: /locked/i,
  not_configured: /not set up/i,
  signed_out: /signed out/i,
  signing_in: /signing in/i,
  signed_in: /signed in/i,
  needs_sign_in: /sign in again/i,
  unreachable: /no connection/i,
}

let browser: Browser
beforeAll(async () => {
  browser = await startBrowser()
})
afterAll(() => browser?.close())

const textOf = (page: Page, id: string) => page.locator(`[data-testid=${id}]:visible`).textContent()

/** What axe-core finds at a size and in a colour scheme, by rule. */
async function violations(page: Page, width: number, colorScheme: 'light' | 'dark'): Promise<string[]> {
  await page.setViewportSize({ width, height: 800 })
  await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
  // Colours that are on their way from one scheme to the other are nobody's.
  await page.evaluate(() => Promise.allSettled(document.getAnimations().map(({ finished }) => finished)))
  await page.evaluate(axe)
  const results = await page.evaluate(
    (options) => (window as unknown as { axe: { run(o: RunOptions): Promise<AxeResults> } }).axe.run(options),
    { resultTypes: ['violations'] } satisfies RunOptions,
  )
  return results.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${colorScheme} ${width}: ${id} at ${target}: ${failureSummary}`),
  )
}

async function expectState(page: Page, state: PageState): Promise<void> {
  expect(await page.textContent('#view-name')).toMatch(HEADINGS[state.view])
  expect(await page.title()).toMatch(HEADINGS[state.view])
  expect(await textOf(page, 'state-sentence')).toMatch(state.sentence)
  for (const [id, text] of [
    ['problem', state.problem],
    ['login-result', state.result],
  ] as const) {
    if (text) expect(await textOf(page, id)).toMatch(text)
    else expect(await page.isVisible(`[data-testid=${id}]`), `no ${id} is shown`).toBe(false)
  }
  for (const id of state.next) expect(await page.isVisible(`[data-testid=${id}]`), `${id} is shown`).toBe(true)
}

describe.concurrent('the page', () => {
  for (const state of pageStates) {
    const { name, skip, byItself, mend } = state
    it.skipIf(skip)(
      `${name}: says so, offers what comes next, and is accessible`,
      { timeout: 120_000 },
      async ({ onTestFinished }) => {
        const stage = await state.set()
        onTestFinished(stage.stop)
        const context = await browser.newContext({ bypassCSP: true })
        onTestFinished(() => context.close())
        const own = [stage.url, stage.server?.url ?? stage.yoto.url]
        const loads: string[] = []
        const foreign: string[] = []
        context.on('request', (request) => {
          const { origin, protocol } = new URL(request.url())
          if (request.isNavigationRequest() && origin === stage.url) loads.push(request.url())
          // Of Yoto's, only the pages that the person goes to, never what our page might load from there.
          const isAllowed = origin === stage.url || (own.includes(origin) && !isOurs(request.frame().url()))
          const isVisit = request.isNavigationRequest() && own.includes(origin)
          if (protocol !== 'data:' && !isAllowed && !isVisit) foreign.push(request.url())
        })
        const isOurs = (address: string) => address.startsWith(stage.url)

        const page = await openIn(state, stage, context)
        await expectState(page, state)
        if (byItself) {
          const ours = await page.evaluate(() => performance.getEntriesByType('navigation').length)
          expect(ours).toBe(1)
          // In another tab the page is loaded too.
          expect(loads.length).toBeLessThanOrEqual(name === 'locked' ? 2 : 1)
        }

        const found: string[] = []
        for (const width of [390, 1280]) {
          for (const scheme of ['light', 'dark'] as const) found.push(...(await violations(page, width, scheme)))
        }
        expect(found).toEqual([])

        if (mend) {
          const loadsBefore = loads.length
          await mend.how(stage)
          await shows(page, mend.view)
          await page.locator('[data-testid=problem]').waitFor({ state: 'hidden' })
          expect(await page.textContent('#view-name')).toMatch(HEADINGS[mend.view])
          expect(loads).toHaveLength(loadsBefore)
        }
        expect(foreign).toEqual([])
      },
    )
  }
})
