import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { place } from '../faults/scene'
import { startBrowser } from '../support/browser'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { type SeededTokens, type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// In a real browser: another site's page can neither read nor change anything, whether the browser is unlocked or not.

const READS = ['/api/token', '/api/auth/status', '/api/journal']
const CHANGES = ['/api/auth/logout', '/api/auth/start', '/api/auth/refresh', '/api/access/lock', '/api/access/unlock']

const folder = mkdtempSync(join(tmpdir(), 'other-sites-'))
let browser: Browser
let yoto: StandIn
let first: SeededTokens
let keeper: Keeper
let site: Server
let attackers: { 'another site': string; 'another port of the same site': string }

beforeAll(async () => {
  yoto = await startStandIn()
  first = yoto.seed()
  place(folder, yoto, first, 'valid')
  keeper = await startKeeper({ cwd: folder, env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url } })
  site = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><p>Hello'))
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  const { port } = site.address() as AddressInfo
  // To the second one the browser sends the cookie, in spite of SameSite=Strict: a site is a host without its port.
  attackers = {
    'another site': `http://localhost:${port}`,
    'another port of the same site': `http://127.0.0.1:${port}`,
  }
  browser = await startBrowser()
})
afterAll(async () => {
  await browser?.close()
  await keeper?.stop()
  await yoto?.stop()
  site?.close()
  rmSync(folder, { recursive: true })
})

interface Seen {
  method: string
  path: string
  status: number
  cookie: boolean
}

/** What the keeper has answered to this browser's requests. */
function watch(context: BrowserContext): () => Promise<Seen[]> {
  const seen: Promise<Seen>[] = []
  context.on('response', (response) => {
    const request = response.request()
    if (!request.url().startsWith(keeper.url)) return
    const { pathname: path } = new URL(request.url())
    const facts = { method: request.method(), path, status: response.status() }
    seen.push(request.allHeaders().then((headers) => ({ ...facts, cookie: 'cookie' in headers })))
  })
  return () => Promise.all(seen)
}

/** A browser that has unlocked the keeper, or has only seen its page, and its tab there. */
async function visit(unlocked: boolean): Promise<{ context: BrowserContext; own: Page }> {
  const context = await browser.newContext()
  const own = await context.newPage()
  await own.goto(unlocked ? `${keeper.url}/#key=${keeper.key}` : keeper.url)
  await own.waitForSelector(`main[data-view=${unlocked ? 'signed_in' : 'locked'}]`)
  await own.goto('about:blank') // or it would go on asking, among the attacks
  return { context, own }
}

/** Everything that a script can try without leaving its page; what it has got to know. */
function attack(page: Page): Promise<string[]> {
  return page.evaluate(
    async ({ keeper, reads, changes }) => {
      const known: string[] = []
      const learn = async (what: string, attempt: () => Promise<unknown>) =>
        known.push(`${what}: ${await attempt().catch(() => 'refused')}`)
      const read = (url: string, init: RequestInit) => async () => {
        const answer = await fetch(url, { credentials: 'include', ...init })
        return `${answer.type} ${answer.status} ${await answer.text()}`
      }
      for (const path of reads) {
        for (const mode of ['cors', 'no-cors'] as const) await learn(`${mode} ${path}`, read(keeper + path, { mode }))
      }
      for (const path of changes) {
        const body = '{}'
        const types = ['text/plain', 'application/json', 'application/x-www-form-urlencoded']
        for (const type of types) {
          await learn(path, read(keeper + path, { method: 'POST', body, headers: { 'content-type': type } }))
          const simple = { method: 'POST', body, mode: 'no-cors', headers: { 'content-type': type } } as const
          await learn(path, read(keeper + path, simple))
        }
        navigator.sendBeacon(keeper + path, body)
      }

      // Elements that fetch by themselves, and what may be seen of them.
      const loaded = (node: HTMLElement) =>
        new Promise<string>((resolve) => {
          node.onload = () => resolve('load')
          node.onerror = () => resolve('error')
          document.body.append(node)
        })
      const make = (tag: string, attributes: object) => Object.assign(document.createElement(tag), attributes)
      for (const path of reads) {
        await learn(`img ${path}`, () => loaded(make('img', { src: keeper + path })))
        await learn(`script ${path}`, () => loaded(make('script', { src: keeper + path })))
        await learn(`link ${path}`, () => loaded(make('link', { rel: 'stylesheet', href: keeper + path })))
      }
      for (const path of ['/', ...reads]) {
        await learn(`frame ${path}`, async () => {
          const frame = make('iframe', { src: keeper + path }) as HTMLIFrameElement
          await loaded(frame)
          return frame.contentDocument?.body.innerText ?? 'a document of another origin'
        })
      }
      return known
    },
    { keeper: keeper.url, reads: READS, changes: CHANGES },
  )
}

/** Sends a form from the attacker's page, at the top or into a frame. */
async function sendForm(page: Page, path: string, frame: boolean): Promise<void> {
  const isIt = (one: { url(): string }) => one.url() === keeper.url + path
  // An answer that may not be framed counts as failed, and is not shown to us either.
  const context = page.context()
  const ended = [context.waitForEvent('requestfinished', isIt), context.waitForEvent('requestfailed', isIt)]
  const answered = Promise.race(ended.map((one) => one.catch(() => {})))
  await page.evaluate(
    ({ action, frame }) => {
      const form = Object.assign(document.createElement('form'), { action, method: 'post', enctype: 'text/plain' })
      form.append(Object.assign(document.createElement('input'), { name: '{"device_code":"', value: '"}' }))
      if (frame) document.body.append(Object.assign(document.createElement('iframe'), { name: 'target' }))
      form.target = frame ? 'target' : '_self'
      document.body.append(form)
      form.submit()
    },
    { action: keeper.url + path, frame },
  )
  await answered
}

async function expectUnchanged(own: Page, unlocked: boolean): Promise<void> {
  const { body } = await keeper.json<{ access_token: string }>('/api/token')
  expect(body.access_token).toBe(first.access_token)
  expect((await keeper.json('/api/auth/status')).body).not.toHaveProperty('login')
  expect(yoto.counts).toMatchObject({ device: 0, refresh_ok: 0, refresh_refused: 0, revoked: 0 })
  await own.goto(keeper.url)
  await own.waitForSelector(`main[data-view=${unlocked ? 'signed_in' : 'locked'}]`)
}

/** Every request that the keeper got was refused, but for what is open. */
function expectRefused(seen: Seen[]): void {
  const open = (one: Seen) => ['/', '/style.css', '/client.js', '/favicon.ico'].includes(one.path)
  const letIn = seen.filter((one) => !open(one) && ![401, 403].includes(one.status))
  expect(letIn).toEqual([])
}

describe.each(['another site', 'another port of the same site'] as const)('a page of %s', (which) => {
  describe.each([
    ['an unlocked browser', true],
    ['a browser without a cookie', false],
  ])('in %s', (_, unlocked) => {
    it('reads nothing and changes nothing from where it is', async () => {
      const { context, own } = await visit(unlocked)
      const page = await context.newPage()
      await page.goto(attackers[which])
      const seen = watch(context)
      const known = await attack(page)

      expect(known.filter((one) => !/refused$|opaque 0 $|error$|another origin$/.test(one))).toEqual([])
      expect(known.join('\n')).not.toContain(first.access_token)
      // The page is not framed: the browser shows an error of its own in its place.
      const framed = page.frames().filter((frame) => frame !== page.mainFrame() && frame.url().startsWith(keeper.url))
      expect(framed.map((frame) => frame.url())).toEqual([])

      const requests = () => seen().then((all) => new Set(all.map(({ method, path }) => `${method} ${path}`)))
      const expected = [...READS.map((path) => `GET ${path}`), ...CHANGES.map((path) => `POST ${path}`)]
      await waitUntil(async () => isSubset(expected, await requests()), {
        what: 'every attack had arrived',
      })
      expectRefused(await seen())
      const withCookie = (await seen()).filter(({ cookie }) => cookie)
      expect(withCookie.length > 0).toBe(unlocked && which === 'another port of the same site')
      await expectUnchanged(own, unlocked)
      await context.close()
    })

    it('changes nothing with forms, at the top or in a frame', async () => {
      const { context, own } = await visit(unlocked)
      const seen = watch(context)
      for (const path of [...CHANGES, '/api/auth/poll']) {
        for (const frame of [true, false]) {
          const page = await context.newPage()
          await page.goto(attackers[which])
          await sendForm(page, path, frame)
          await page.close()
        }
      }
      expect((await seen()).length).toBeGreaterThanOrEqual(CHANGES.length + 1)
      expectRefused(await seen())
      await expectUnchanged(own, unlocked)
      await context.close()
    })

    it('reads nothing of what its links open', async () => {
      const { context, own } = await visit(unlocked)
      const seen = watch(context)
      for (const path of ['/', ...READS]) {
        const page = await context.newPage()
        await page.goto(attackers[which])
        const [opened, text] = await Promise.all([
          context.waitForEvent('page'),
          page.evaluate(async (url) => {
            const opened = window.open(url)
            await new Promise((resolve) => setTimeout(resolve)) // until the browser has begun
            for (;;) {
              try {
                // about:blank first; as soon as it is another origin's, every look is an error.
                if (opened?.document.body.innerText) return opened.document.body.innerText
                await new Promise((resolve) => setTimeout(resolve, 10))
              } catch {
                return 'an error'
              }
            }
          }, keeper.url + path),
        ])
        await opened.waitForLoadState()
        expect(text).toBe('an error')
        expect(await opened.textContent('body')).not.toContain(first.access_token)
        await Promise.all([page.close(), opened.close()])
      }
      expect((await seen()).length).toBeGreaterThanOrEqual(4)
      const ofThePage = ({ path, status }: Seen) => path === '/api/auth/status' && status === 200 // opened by a link, the page asks itself
      expectRefused((await seen()).filter((one) => !ofThePage(one)))
      await expectUnchanged(own, unlocked)
      await context.close()
    })
  })
})

it("the keeper's own page reads all that, so that it is the site that counts", async () => {
  const { context, own } = await visit(true)
  await own.goto(keeper.url)
  for (const path of READS) {
    const status = await own.evaluate(async (path) => (await fetch(path)).status, path)
    expect(status).toBe(200)
  }
  await context.close()
})

function isSubset<T>(part: T[], whole: Set<T>): boolean {
  return part.every((one) => whole.has(one))
}
