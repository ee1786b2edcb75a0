import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startBrowser } from '../support/browser'
import { type Keeper, startKeeper } from '../support/keeper-process'

// CORS_ORIGIN: a real browser lets the pages of that one origin call with a key, and no others.

const TOOL_KEY = 'tool-key-0123456789'
const pages = createServer((_, response) =>
  response.setHeader('content-type', 'text/html').end('<!doctype html><p>A tool'),
)
let browser: Browser
let keeper: Keeper
/** The same pages by two names: two sites. */
let trusted: string
let other: string

beforeAll(async () => {
  pages.listen(0, '127.0.0.1')
  await once(pages, 'listening')
  const { port } = pages.address() as AddressInfo
  trusted = `http://localhost:${port}`
  other = `http://127.0.0.1:${port}`
  keeper = await startKeeper({ env: { KEEPER_TOOL_KEYS: `tool:${TOOL_KEY}`, CORS_ORIGIN: trusted } })
  browser = await startBrowser()
})
afterAll(async () => {
  await browser?.close()
  await keeper?.stop()
  pages.close()
})

interface Call {
  path: string
  method?: string
  key?: string
  credentials?: RequestCredentials
}

/** What a page's script sees: status and error code, or that the browser has kept the answer from it. */
function call(page: Page, { path, method = 'GET', key, credentials = 'omit' }: Call): Promise<string> {
  return page.evaluate(
    async ({ url, method, key, credentials }) => {
      const headers: Record<string, string> = key ? { authorization: `Bearer ${key}`, 'x-of-its-own': 'a header' } : {}
      const answer = await fetch(url, { method, headers, credentials }).catch(() => undefined)
      return answer ? `${answer.status} ${(await answer.json()).error}` : 'nothing'
    },
    { url: keeper.url + path, method, key, credentials },
  )
}

async function pageOf(origin: string): Promise<Page> {
  const context = await browser.newContext()
  const own = await context.newPage()
  await own.goto(`${keeper.url}/#key=${keeper.key}`) // this browser is unlocked
  await own.waitForSelector('main[data-view=not_configured]')
  const page = await context.newPage()
  await page.goto(origin)
  return page
}

it('a page of the trusted origin calls with a key, and reads the answers', async () => {
  const page = await pageOf(trusted)
  expect(await call(page, { path: '/api/token', key: TOOL_KEY })).toBe('503 not_configured')
  expect(await call(page, { path: '/api/auth/refresh', method: 'POST', key: keeper.key })).toBe('503 not_configured')
  expect(await call(page, { path: '/api/auth/status', key: TOOL_KEY })).toBe('403 forbidden')
  expect(await call(page, { path: '/api/token', key: 'wrong-key-0123456789' })).toBe('401 unauthorized')
})

it('the session is not for it: without a key it is refused, with the cookie too', async () => {
  const page = await pageOf(trusted)
  expect(await call(page, { path: '/api/token' })).toBe('403 forbidden')
  expect(await call(page, { path: '/api/token', credentials: 'include' })).toBe('nothing')
  expect(await call(page, { path: '/api/token', key: TOOL_KEY, credentials: 'include' })).toBe('nothing')
})

it('a page of any other origin reads nothing, with the right key neither', async () => {
  const page = await pageOf(other)
  for (const key of [undefined, TOOL_KEY, keeper.key]) {
    expect(await call(page, { path: '/api/token', key })).toBe('nothing')
    expect(await call(page, { path: '/api/auth/logout', method: 'POST', key })).toBe('nothing')
  }
})
