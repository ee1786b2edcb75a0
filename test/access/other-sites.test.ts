import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { place } from '../faults/scene'
import { startBrowser } from '../support/browser'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { type SeededTokens, type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// In a real browser: another site's page can neither read nor change anything, whether the browser is unlocked or not.

/** The page itself is open: whoever asks gets it, but no other page may look into it or frame it. */
const GETS = ['/', '/api/token', '/api/auth/status', '/api/journal', '/api/doctor', '/api/auth/login']
const POSTS = ['logout', 'start', 'refresh', 'poll'].map((name) => `/api/auth/${name}`)
POSTS.push('/api/access/lock', '/api/access/unlock')

/** What a page gets to know by each way of asking. It is the same in every state: it does not tell who is signed in. */
const LEARNT_BY_GET = {
  cors: 'refused',
  'no-cors': 'opaque 0 ',
  img: 'error',
  script: 'error',
  stylesheet: 'error',
  object: 'looked into later',
  embed: 'looked into later',
  iframe: 'looked into later',
  link: 'refused',
}
const LEARNT_BY_POST = {
  'cors-text': 'refused',
  'no-cors-text': 'opaque 0 ',
  json: 'refused',
  beacon: 'sent',
  'form-in-frame': 'looked into later',
  'form-in-window': 'refused',
}
const ATTACKS = [
  ...GETS.flatMap((path) => Object.entries(LEARNT_BY_GET).map(([by, learnt]) => ({ method: 'GET', path, by, learnt }))),
  // JSON is asked about first (Fetch standard, CORS-preflight), and goes no further.
  ...POSTS.flatMap((path) =>
    Object.entries(LEARNT_BY_POST).map(([by, learnt]) => {
      return { method: by === 'json' ? 'OPTIONS' : 'POST', path, by, learnt }
    }),
  ),
]

const folder = mkdtempSync(join(tmpdir(), 'other-sites-'))
const site = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>Hello'))
const tap = createServer()
let arrived: { attack: string; answer: string }[] = []
let browser: Browser
let yoto: StandIn
let first: SeededTokens
let keeper: Keeper
/** Where the browser finds the keeper. */
let home: string
let attackers: Record<Attacker, string>

beforeAll(async () => {
  yoto = await startStandIn()
  first = yoto.seed()
  place(folder, yoto, first, 'valid')
  keeper = await startKeeper({ cwd: folder, env: { YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url } })
  tap.on('request', passOn)
  home = `http://127.0.0.1:${await listen(tap)}`
  const port = await listen(site)
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
  for (const server of [site, tap]) server.close()
  rmSync(folder, { recursive: true })
})

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** On the wire everything is seen; what ORB or CORS keeps from a page, the browser keeps from a test too. */
function passOn(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { method, url = '', headers } = incoming
  const onward = request(keeper.url + url, { method, headers }, (answer) => {
    const [path, by] = url.split('?by=')
    const cookie = headers.cookie?.includes('keeper_session=') ? 'with the cookie' : 'without a cookie'
    const facts = `${answer.statusCode} ${headers['sec-fetch-site']} ${cookie}`
    if (by) arrived.push({ attack: `${by} ${method} ${path}`, answer: facts })
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(outgoing)
  })
  onward.on('error', () => outgoing.destroy())
  incoming.pipe(onward)
}

type Attacker = 'another site' | 'another port of the same site'
type State = 'with no cookie' | 'that is unlocked' | 'that was unlocked and is locked'

/** A browser, and its tab at a keeper that no test before has changed. */
async function visit(state: State): Promise<{ context: BrowserContext; own: Page; view: string }> {
  expect(await facts()).toMatchObject({ token: first.access_token, state: 'signed_in', login: undefined })
  const context = await browser.newContext()
  onTestFinished(() => context.close())
  const own = await context.newPage()
  const hasCookie = state !== 'with no cookie'
  await own.goto(hasCookie ? `${home}/#key=${keeper.key}` : home)
  await own.waitForSelector(`main[data-view=${hasCookie ? 'signed_in' : 'locked'}]`)
  // From elsewhere, so that the browser still has its cookie.
  if (state === 'that was unlocked and is locked') await keeper.json('/api/access/lock', { method: 'POST' })
  return { context, own, view: state === 'that is unlocked' ? 'signed_in' : 'locked' }
}

/** Everything that a page can try at `base`, and what it has got to know: the text, or how it was kept from it. */
function attack(page: Page, base: string): Promise<Record<string, string>> {
  return page.evaluate(
    async ({ base, gets, posts, key }) => {
      const known: Record<string, string> = {}
      const attempts: Promise<void>[] = []
      const attempt = (by: string, path: string, way: (url: string, name: string) => Promise<string>) => {
        const learn = async () => {
          known[`${by} ${path}`] = await way(`${base + path}?by=${by}`, `${by} ${path}`).catch(() => 'refused')
        }
        attempts.push(learn())
      }

      const read = async (url: string, init: RequestInit) => {
        const answer = await fetch(url, { credentials: 'include', ...init })
        return `${answer.type} ${answer.status} ${await answer.text()}`
      }
      const make = (tag: string, attributes: object) => Object.assign(document.createElement(tag), attributes)
      const load = (tag: string, attributes: object) =>
        new Promise<string>((resolve) => {
          document.body.append(
            make(tag, { ...attributes, onload: () => resolve('load'), onerror: () => resolve('error') }),
          )
        })
      const frame = async (tag: string, attributes: object) => {
        document.body.append(make(tag, attributes))
        return 'looked into later'
      }
      /** about:blank can be read until what was asked for is there. */
      const look = async (target: Window | null) => {
        while (target?.location.href === 'about:blank' || target?.document.readyState !== 'complete') {
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
        return target.document.body.innerText
      }

      for (const path of gets) {
        attempt('cors', path, (url) => read(url, {}))
        attempt('no-cors', path, (url) => read(url, { mode: 'no-cors' }))
        attempt('img', path, (src) => load('img', { src }))
        attempt('script', path, (src) => load('script', { src }))
        attempt('stylesheet', path, (href) => load('link', { rel: 'stylesheet', href }))
        for (const tag of ['object', 'embed', 'iframe']) {
          attempt(tag, path, (url) => frame(tag, tag === 'object' ? { data: url } : { src: url }))
        }
        attempt('link', path, (href, target) => {
          const opened = window.open('', target)
          make('a', { href, target }).click()
          return look(opened)
        })
      }
      for (const path of posts) {
        // With the right key, so that a hole would be one.
        const body = JSON.stringify({ key })
        const post = { method: 'POST', body, headers: { 'content-type': 'text/plain' } }
        attempt('cors-text', path, (url) => read(url, post))
        attempt('no-cors-text', path, (url) => read(url, { ...post, mode: 'no-cors' }))
        attempt('json', path, (url) => read(url, { ...post, headers: { 'content-type': 'application/json' } }))
        attempt('beacon', path, async (url) => (navigator.sendBeacon(url, body) ? 'sent' : 'not sent'))
        const submit = (action: string, target: string) => {
          const form = make('form', { action, target, method: 'post', enctype: 'text/plain' }) as HTMLFormElement
          // As plain text it is name=value, and that is JSON.
          form.append(make('input', { name: `${body.slice(0, -1)},"`, value: '":0}' }))
          document.body.append(form)
          form.submit()
        }
        attempt('form-in-frame', path, (url, name) => {
          const framed = frame('iframe', { name })
          submit(url, name)
          return framed
        })
        attempt('form-in-window', path, (url, name) => {
          const opened = window.open('', name)
          submit(url, name)
          return look(opened)
        })
      }
      await Promise.all(attempts)
      return known
    },
    { base, gets: GETS, posts: POSTS, key: keeper.key },
  )
}

/** What a page sees in its frames, once the browser has decided what to show there. */
async function lookIntoFrames(page: Page): Promise<string[]> {
  const isDecided = () => page.frames().every((frame) => !['', 'about:blank'].includes(frame.url()))
  await waitUntil(isDecided, { what: 'every frame had an answer' })
  return page.evaluate(() =>
    Array.from({ length: window.length }, (_, at) => {
      try {
        return window[at]?.document.body.innerText ?? ''
      } catch {
        return 'refused'
      }
    }),
  )
}

/** All that an attack could have changed. */
async function facts() {
  const [token, status, journal] = await Promise.all([
    keeper.json<{ access_token: string }>('/api/token'),
    keeper.json('/api/auth/status'),
    keeper.json('/api/journal'),
  ])
  const { state, login } = status.body
  return { token: token.body.access_token, state, login, journal: journal.body, yoto: { ...yoto.counts } }
}

// From another site the browser never sends the cookie: for it, a locked browser is one without.
it.each<[Attacker, State]>([
  ['another site', 'with no cookie'],
  ['another site', 'that is unlocked'],
  ['another port of the same site', 'with no cookie'],
  ['another port of the same site', 'that is unlocked'],
  ['another port of the same site', 'that was unlocked and is locked'],
])('a page of %s reads nothing and changes nothing in a browser %s', async (which, state) => {
  const { context, own, view } = await visit(state)
  const before = await facts()
  const page = await context.newPage()
  await page.goto(attackers[which])
  arrived = []
  const known = await attack(page, home)

  expect(known).toEqual(Object.fromEntries(ATTACKS.map(({ by, path, learnt }) => [`${by} ${path}`, learnt])))
  for (const secret of [first.access_token, first.refresh_token]) expect(JSON.stringify(known)).not.toContain(secret)
  const isSent = state !== 'with no cookie' && which === 'another port of the same site'
  const expected = ATTACKS.map(({ method, path, by }) => {
    const from = which === 'another site' ? 'cross-site' : 'same-site'
    const cookie = isSent && method !== 'OPTIONS' ? 'with the cookie' : 'without a cookie'
    return { attack: `${by} ${method} ${path}`, answer: `${path === '/' ? 200 : 403} ${from} ${cookie}` }
  })
  const isComplete = () => expected.every(({ attack }) => arrived.some((one) => one.attack === attack))
  await waitUntil(isComplete, { what: 'every attack had arrived' })
  expect(asLines(arrived)).toEqual(asLines(expected))

  const seen = await lookIntoFrames(page)
  expect(seen.length).toBeGreaterThanOrEqual(GETS.length + POSTS.length)
  expect(new Set(seen)).toEqual(new Set(['refused']))
  // In the place of what may not be framed there is an error of the browser's.
  const framed = page.frames().filter((frame) => frame.url().startsWith(home))
  expect(framed.map((frame) => frame.url())).toEqual([])

  expect(await facts()).toEqual(before)
  // The page opened by a link is the person's own again.
  const opened = context.pages().find((one) => one.url() === `${home}/?by=link`)
  await opened?.waitForSelector(`main[data-view=${view}]`)
  expect(opened).toBeDefined()
  await own.reload()
  await own.waitForSelector(`main[data-view=${view}]`)
})

// Otherwise all this might be refused to everybody.

it('a page reads of its own site what it cannot read of the keeper', async () => {
  const page = await browser.newPage()
  onTestFinished(() => page.context().close())
  const own = attackers['another site']
  await page.goto(own)
  const known = await attack(page, own)
  const readable = [
    ...GETS.flatMap((path) => ['cors', 'no-cors', 'link'].map((by) => `${by} ${path}`)),
    ...POSTS.flatMap((path) => ['cors-text', 'no-cors-text', 'json', 'form-in-window'].map((by) => `${by} ${path}`)),
  ]
  expect(readable.filter((name) => !known[name]?.endsWith('Hello'))).toEqual([])
  expect(new Set(await lookIntoFrames(page))).toEqual(new Set(['Hello']))
})

// The last one, as it ends the sign-in.
it("the keeper's own page reads and changes all that", async () => {
  const { own } = await visit('that is unlocked')
  const ask = (path: string, method: string) =>
    own.evaluate(
      async ({ path, method, key }) => {
        const body = method === 'POST' ? JSON.stringify({ key }) : undefined
        const answer = await fetch(path, { method, body, headers: { 'content-type': 'text/plain' } })
        return `${answer.status} ${await answer.text()}`
      },
      { path, method, key: keeper.key },
    )
  expect(await ask('/api/token', 'GET')).toContain(first.access_token)
  for (const path of ['/api/auth/status', '/api/journal']) expect(await ask(path, 'GET')).toMatch(/^200 /)
  for (const path of ['access/unlock', 'auth/refresh', 'auth/logout', 'auth/start', 'access/lock']) {
    expect(await ask(`/api/${path}`, 'POST')).toMatch(/^200 /)
  }
  expect(yoto.counts).toMatchObject({ refresh_ok: 1, revoked: 1, device: 1 })
  expect(await ask('/api/token', 'GET')).toMatch(/^401 /)
})

/** For each attack what was answered, once. */
function asLines(all: typeof arrived): string[] {
  return [...new Set(all.map(({ attack, answer }) => `${attack}: ${answer}`))].sort()
}
