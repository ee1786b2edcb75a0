import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { Browser, BrowserContextOptions } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PAGE_FILES } from '../../server/page/files'
import { startApiServer } from '../support/api-server'
import { startBrowser } from '../support/browser'
import { builtRoutes } from '../support/built-routes'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { type StandIn, startStandIn } from '../support/stand-in'
import { waitUntil } from '../support/wait-until'

// The document, the routes and the page of the document say the same.

/** What people look at; no part of the API. */
const FOR_PEOPLE = [...PAGE_FILES.map((path) => `GET ${path}`), 'GET /docs']
/** A route for any method is documented with each of these. */
const ANY = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

const TOOL = 'tool-key-0123456789'
const TOOL_KEYS = `tool:${TOOL}`

interface Operation {
  operationId: string
  summary: string
  security?: Record<string, unknown>[]
  responses: Record<string, object>
}
interface Document {
  info: { version: string }
  security: Record<string, unknown>[]
  paths: Record<string, Record<string, Operation>>
}

let yoto: StandIn
let keeper: Keeper
let document: Document

const environment = () => ({ YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url, YOTO_API_URL: yoto.url })

beforeAll(async () => {
  yoto = await startStandIn()
  keeper = await startKeeper({ env: { ...environment(), KEEPER_TOOL_KEYS: TOOL_KEYS } })
  document = (await keeper.json<Document>('/_openapi.json')).body
})
afterAll(async () => {
  await keeper?.stop()
  await yoto?.stop()
})

/** `GET /api/token`, as routes are named everywhere here. */
function operations(): [name: string, operation: Operation][] {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, Operation] => [
      `${method.toUpperCase()} ${path}`,
      operation,
    ]),
  )
}

describe('the document', () => {
  it('is valid OpenAPI 3.1', async () => {
    expect(await new Validator().validate({ ...document })).toEqual({ valid: true })
  })

  it('has every route, and no other', () => {
    const routes = builtRoutes().filter((route) => route !== 'ANY /api/yoto') // /api/yoto/{path} with an empty path
    const built = routes.flatMap((route) => {
      const [method = '', path = ''] = route.replace(/\*\*:(\w+)/, '{$1}').split(' ')
      return (method === 'ANY' ? ANY : [method]).map((one) => `${one} ${path}`)
    })
    const documented = operations().map(([name]) => name)
    expect([...documented, ...FOR_PEOPLE].sort()).toEqual(built.sort())
  })

  it('names every operation once, and says nothing about who asks', async () => {
    const ids = operations().map(([, { operationId }]) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    const headers = { host: 'keeper.example', 'x-forwarded-host': 'keeper.example' }
    expect((await keeper.json('/_openapi.json', { headers })).body).toEqual(document)
    expect(JSON.stringify(document)).not.toMatch(/127\.0\.0\.1|localhost|Development|keeper\.example/)
  })

  it('is for the owner, as is its page', async () => {
    for (const path of ['/_openapi.json', '/docs']) {
      expect((await ask('GET', path, { authorization: '' })).status).toBe(401)
      expect((await ask('GET', path, { authorization: `Bearer ${TOOL}` })).status).toBe(403)
      expect((await ask('GET', path)).status).toBe(200)
    }
  })

  it('knows who may call, as the guard does', async () => {
    for (const [name, { security = document.security }] of operations()) {
      const [method = '', path = ''] = name.split(' ')
      const byKey = (scheme: string) => security.some((one) => scheme in one)
      const nobody = await ask(method, path, { authorization: '' })
      const tool = await ask(method, path, { authorization: `Bearer ${TOOL}` })
      expect(nobody.headers.get('keeper-error') === 'unauthorized', name).toBe(security.length > 0)
      if (security.length > 0) expect(tool.headers.get('keeper-error') === 'forbidden', name).toBe(!byKey('toolKey'))
      expect(byKey('ownerKey') && byKey('session'), name).toBe(security.length > 0)
    }
  })
})

interface Asked {
  authorization?: string
  headers?: Record<string, string>
  body?: string
  from?: Keeper
}

async function ask(method: string, path: string, { authorization, headers = {}, body, from = keeper }: Asked = {}) {
  const init = { method, headers: new Headers(headers), body, redirect: 'manual' as const }
  if (authorization !== undefined) init.headers.set('authorization', authorization)
  const answer = await from.fetch(path, init)
  return { status: answer.status, headers: answer.headers, text: await answer.text() }
}

describe('every answer is as documented', () => {
  /** Answers that cannot be brought about here. */
  const UNSEEN = [
    'GET /api/auth/callback 503', // only where the start goes wrong and the process lives on
    ...ANY.map((method) => `${method} /api/yoto/{path} 400`), // fetch tidies such paths: see yoto.test.ts
  ]
  const seen = new Set<string>()
  let ajv: Ajv2020

  beforeAll(() => {
    ajv = addFormats.default(new Ajv2020({ strict: false, allErrors: true }))
    ajv.addSchema(document, 'api', undefined, false)
  })

  /** Sends a request and holds the answer against what the document says about its status. */
  async function check(status: number, name: string, { path, ...asked }: Asked & { path?: string } = {}) {
    const [method = '', template = ''] = name.split(' ')
    const answer = await ask(method, path ?? template, asked)
    const what = `${name}: ${answer.status} ${answer.text}`
    expect(answer.status, what).toBe(status)
    const operation = document.paths[template]?.[method.toLowerCase()]
    const isYotos = operation?.responses.default !== undefined && !answer.headers.has('keeper-error')
    const key = isYotos ? 'default' : String(status)
    const { at, value } = follow(`/paths/${asStep(template)}/${method.toLowerCase()}/responses/${key}`)
    const { content = {}, headers = {} } = value as Documented
    seen.add(`${name} ${key}`)

    const [type = ''] = (answer.headers.get('content-type') ?? '').split(';')
    // A redirect's body is h3's, and nobody reads it; of Yoto's nothing is known.
    if (status !== 302 && method !== 'HEAD' && !isYotos) {
      expect(Object.keys(content), what).toContain(type)
      const body = type === 'application/json' ? JSON.parse(answer.text) : answer.text
      const isValid = ajv.validate({ $ref: `api#${at}/content/${asStep(type)}/schema` }, body)
      expect(ajv.errors ?? [], what).toEqual([])
      expect(isValid).toBe(true)
    }
    for (const [header, described] of Object.entries(headers)) {
      const { required } = ('$ref' in described ? follow(String(described.$ref).slice(1)).value : described) as Header
      if (required) expect(answer.headers.get(header), `${header} of ${what}`).toBeTruthy()
    }
    return answer
  }

  interface Header {
    required?: boolean
  }
  interface Documented {
    content?: Record<string, object>
    headers?: Record<string, Header>
  }

  /** What a JSON pointer leads to, through references. */
  function follow(pointer: string): { at: string; value: unknown } {
    let value: unknown = document
    let at = ''
    for (const step of pointer.split('/').slice(1)) {
      const key = step.replaceAll('~1', '/').replaceAll('~0', '~')
      value = (value as Record<string, unknown>)[key]
      if (value === undefined) throw new Error(`not documented: ${pointer}`)
      at += `/${step}`
      const { $ref } = value as { $ref?: string }
      if ($ref) ({ at, value } = follow($ref.slice(1)))
    }
    return { at, value }
  }

  const asStep = (key: string) => key.replaceAll('~', '~0').replaceAll('/', '~1')
  const poll = (device_code: string) => JSON.stringify({ device_code })
  const unlock = (key: string) => JSON.stringify({ key })
  const passedOn = () => operations().filter(([name]) => name.includes('/api/yoto/'))
  const guarded = () => operations().filter(([, { security }]) => security?.length !== 0)

  /** A service of its own for the scene, ended with the test. */
  async function another(env: Record<string, string>, refreshToken?: string): Promise<Keeper> {
    const first = await startKeeper({ env })
    if (!refreshToken) return first
    await first.stop()
    writeFileSync(join(first.cwd, '.yoto_refresh_token'), refreshToken)
    return startKeeper({ env, cwd: first.cwd })
  }

  it('of the open ones', async () => {
    await check(200, 'GET /api/health', { authorization: '' })
    await check(200, 'GET /api/ready', { authorization: '' })
    const headers = { origin: 'https://evil.example' }
    await check(200, 'POST /api/access/unlock', { authorization: '', body: unlock(keeper.key) })
    await check(400, 'POST /api/access/unlock', { authorization: '', body: '{}' })
    await check(401, 'POST /api/access/unlock', { authorization: '', body: unlock('wrong') })
    await check(403, 'POST /api/access/unlock', { authorization: '', body: unlock(TOOL), headers })
    await check(403, 'POST /api/access/unlock', { authorization: '', body: unlock(TOOL) })
    await check(413, 'POST /api/access/unlock', { authorization: '', body: unlock('x'.repeat(17_000)) })
    await check(302, 'GET /api/auth/callback', { authorization: '' })
  })

  it('of the guard, before every other one', async () => {
    for (const [name] of guarded()) {
      await check(401, name, { authorization: '' })
      await check(403, name, { authorization: '', headers: { 'sec-fetch-site': 'cross-site' } })
    }
    for (let tries = 0; tries < 11; tries++) await ask('GET', '/api/token', { authorization: 'Bearer wrong' })
    for (const [name] of guarded()) await check(429, name, { authorization: 'Bearer wrong' })
    await check(429, 'POST /api/access/unlock', { authorization: '', body: unlock('wrong') })
  })

  it('where there is no key and none can be made', async () => {
    const from = await another({ KEEPER_KEY: '', RAILWAY_ENVIRONMENT_NAME: 'production', DATA_DIR: '.' })
    for (const [name] of guarded()) await check(503, name, { from })
    await check(503, 'POST /api/access/unlock', { from })
    await check(503, 'GET /api/ready', { from })
    await from.stop()
  })

  it('while nobody is signed in, and during a sign-in', async () => {
    await check(200, 'GET /_openapi.json')
    await check(200, 'GET /api/auth/status')
    await check(409, 'GET /api/token')
    for (const [name] of passedOn()) await check(409, name)
    await check(400, 'GET /api/token', { path: '/api/token?min_ttl=soon' })
    await check(409, 'POST /api/auth/refresh')
    await check(302, 'GET /api/auth/login')
    await check(400, 'POST /api/auth/poll', { body: '{}' })
    await check(404, 'POST /api/auth/poll', { body: poll('unknown') })
    await check(413, 'POST /api/auth/poll', { body: poll('x'.repeat(17_000)) })

    const path = '/oauth/device/code'
    yoto.inject({ kind: 'html-200' }, { path })
    await check(502, 'POST /api/auth/start')
    yoto.inject({ kind: 'reset-before' }, { path })
    await check(503, 'POST /api/auth/start')
    yoto.inject({ kind: 'timeout' }, { path })
    await check(504, 'POST /api/auth/start')

    const denied = JSON.parse((await check(200, 'POST /api/auth/start')).text)
    await check(200, 'GET /api/auth/status') // with the login under way
    await check(200, 'POST /api/auth/poll', { body: poll(denied.device_code) })
    yoto.deny(denied.user_code)
    const ended = async () => (await check(200, 'POST /api/auth/poll', { body: poll(denied.device_code) })).text
    await waitUntil(async () => (await ended()).includes('access_denied'), { what: 'the sign-in has ended' })
  })

  it('while somebody is signed in', async () => {
    const api = await startApiServer()
    const from = await another({ ...environment(), YOTO_API_URL: api.url }, yoto.seed().refresh_token)
    await waitUntil(async () => (await ask('GET', '/api/token', { from })).status === 200, { what: 'there is a token' })
    await check(200, 'GET /api/token', { from })
    await check(200, 'GET /api/token', { from, headers: { accept: 'text/plain' } })
    for (const [name] of passedOn()) await check(200, name, { from })
    await check(200, 'GET /api/auth/status', { from })
    await check(200, 'POST /api/auth/refresh', { from })
    await check(200, 'GET /api/journal', { from })
    await check(200, 'GET /api/doctor', { from })
    await check(200, 'POST /api/auth/logout', { from })
    await check(200, 'POST /api/auth/logout', { from })
    await check(200, 'POST /api/access/lock', { from })
    await from.stop()
    await api.stop()
  })

  it.each([
    [502, { kind: 'status', status: 401, body: { error: 'invalid_client' } }],
    [503, { kind: 'status', status: 503, headers: { 'retry-after': '60' } }],
    [504, { kind: 'timeout' }],
  ] as const)('where Yoto makes it a %i', async (status, fault) => {
    const broken = await startStandIn()
    broken.inject(fault, { times: 99 })
    const env = { ...environment(), YOTO_AUTH_URL: broken.url }
    const from = await another(env, broken.seed().refresh_token)
    await check(status, 'GET /api/token', { from })
    await check(200, 'GET /api/auth/status', { from })
    await check(status, 'POST /api/auth/refresh', { from })
    await Promise.all(passedOn().map(([name]) => check(status, name, { from })))
    await from.kill()
    await broken.stop()
  })

  it('and nothing is documented that was not seen', () => {
    const documented = operations().flatMap(([name, { responses }]) =>
      Object.keys(responses).map((status) => `${name} ${status}`),
    )
    expect([...seen, ...UNSEEN].sort()).toEqual(documented.sort())
  })
})

describe('the page', () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await startBrowser()
  })
  afterAll(() => browser?.close())

  /** A browser with the session's cookie. */
  async function unlocked(options: BrowserContextOptions) {
    const context = await browser.newContext(options)
    const { headers } = await ask('POST', '/api/access/unlock', { body: JSON.stringify({ key: keeper.key }) })
    const [name = '', value = ''] = headers.get('set-cookie')?.split(';')[0]?.split('=') ?? []
    await context.addCookies([{ name, value, url: keeper.url }])
    return context
  }

  it('is found on the main page by whoever has unlocked it, and leads back', async () => {
    const context = await unlocked({})
    const page = await context.newPage()
    await page.goto(keeper.url)
    await page.click('[data-testid=docs]')
    expect(page.url()).toBe(`${keeper.url}/docs`)
    expect(await page.getAttribute('a[href="/_openapi.json"]', 'href')).toBeTruthy()
    await page.goBack()
    await page.click('[data-testid=lock]')
    await page.waitForSelector('main[data-view=locked]')
    expect(await page.isVisible('[data-testid=docs]')).toBe(false)
    await context.close()
  })

  it.each([
    ['a desk', 1280, 'light'],
    ['a phone', 390, 'dark'],
    ['a small phone', 320, 'light'],
  ] as const)('shows every operation without a script, on %s', async (_, width, colorScheme) => {
    const context = await unlocked({ viewport: { width, height: 800 }, colorScheme, javaScriptEnabled: false })
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('requestfailed', (request) => complaints.push(request.url()))
    await page.goto(`${keeper.url}/docs`)

    expect(await page.title()).toContain('API')
    expect(await page.locator('h1').count()).toBe(1)
    const articles = await page.locator('article').allTextContents()
    for (const [name, { summary, responses }] of operations()) {
      const [method = '', path = ''] = name.split(' ')
      const title = new RegExp(`^\\s*(\\w+, )*${method}(, \\w+)* ${path.replace(/[.{}]/g, '\\$&')}\\s`)
      const shown = articles.find((text) => title.test(text))
      for (const part of [summary, 'Who may call', 'curl ', ...Object.keys(responses)])
        expect(shown, name).toContain(part)
    }
    // Every link within leads somewhere, by the keyboard too.
    for (const link of await page.locator('a[href^="#"]').all()) {
      expect(await page.locator(`[id="${(await link.getAttribute('href'))?.slice(1)}"]`).count()).toBe(1)
    }
    await page.keyboard.press('Tab')
    expect(await page.locator(':focus').getAttribute('href')).toBe('/')
    expect(await page.locator('script, [style], [onclick]').count()).toBe(0)
    expect(await page.evaluate(() => window.document.documentElement.scrollWidth)).toBeLessThanOrEqual(width)
    expect(complaints).toEqual([])
    await context.close()
  })
})
