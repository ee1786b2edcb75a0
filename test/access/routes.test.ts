import { readFileSync } from 'node:fs'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SESSION_SECRET, sign } from '../../server/access/secrets'
import { PAGE_FILES } from '../../server/page/files'
import { builtRoutes } from '../support/built-routes'
import { type Keeper, startKeeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

// Every route that was built, every kind of caller, every method: who gets in is exactly what DESIGN's "Access" says.

/** Who may use a route: everybody; whoever knows the owner's key and is not another site; tools as well as the owner; the owner. */
type Rule = 'open' | 'unlock' | 'tools' | 'owner'

/** A route without a rule fails the test, and so does a rule without a route. */
const RULES: Record<string, Rule> = {
  'GET /': 'open',
  'GET /style.css': 'open',
  'GET /client.js': 'open',
  'GET /client/ask.js': 'open',
  'GET /client/doctor.js': 'open',
  'GET /client/history.js': 'open',
  'GET /client/parts.js': 'open',
  'GET /client/timeline.js': 'open',
  'GET /client/use-it.js': 'open',
  'GET /api/health': 'open',
  'GET /api/ready': 'open',
  'POST /api/access/unlock': 'unlock',
  'POST /api/access/lock': 'owner',
  'GET /api/auth/status': 'owner',
  'GET /api/auth/login': 'owner',
  'GET /api/auth/callback': 'open', // its proof is the cookie that login set
  'POST /api/auth/start': 'owner',
  'POST /api/auth/poll': 'owner',
  'POST /api/auth/logout': 'owner',
  'POST /api/auth/refresh': 'owner',
  'GET /api/journal': 'owner',
  'GET /api/doctor': 'owner',
  'GET /_openapi.json': 'owner',
  'GET /docs': 'owner',
  'GET /api/token': 'tools',
  'ANY /api/yoto': 'tools',
  'ANY /api/yoto/**:path': 'tools',
}
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

const OWNER = 'owner-key-0123456789'
const TOOL = 'tool-key-0123456789'
const TRUSTED = 'https://tool.example'

const agent = new Agent({ keepAlive: true, maxSockets: 8 })
let keeper: Keeper

beforeAll(async () => {
  const env = { KEEPER_KEY: OWNER, KEEPER_TOOL_KEYS: `tool:${TOOL}`, CORS_ORIGIN: TRUSTED }
  keeper = await startKeeper({ env })
})
afterAll(async () => {
  agent.destroy()
  await keeper?.stop()
})

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

/** Path and Host leave as they are given: fetch would tidy both. */
function send(method: string, path: string, headers: Record<string, string> = {}, body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(keeper.url)
    const outgoing = request({ agent, hostname, port, method, path, headers }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk) => (text += chunk))
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text }))
    })
    outgoing.on('error', reject).end(body || undefined)
  })
}

async function unlock(): Promise<string> {
  const { headers } = await send('POST', '/api/access/unlock', {}, JSON.stringify({ key: OWNER }))
  return headers['set-cookie']?.[0]?.split(';')[0] ?? ''
}

async function lockedCookie(): Promise<string> {
  const cookie = await unlock()
  expect((await send('POST', '/api/access/lock', { cookie })).status).toBe(200)
  return cookie
}

/** Signed by ourselves, and run out a second ago. */
async function staleCookie(): Promise<string> {
  await unlock()
  const until = String(Date.now() - 1_000)
  const secret = readFileSync(join(keeper.cwd, SESSION_SECRET), 'utf8')
  return `keeper_session=${until}.${await sign(secret, `session ${until} ${OWNER}`)}`
}

const FORGED = {
  ...{ 'x-forwarded-for': '127.0.0.1', 'x-forwarded-host': 'localhost', 'x-forwarded-proto': 'https' },
  ...{ forwarded: 'for=127.0.0.1;host=localhost', 'x-real-ip': '127.0.0.1', 'x-dev-peer': '127.0.0.1' },
  ...{ 'x-original-url': '/api/health', 'x-rewrite-url': '/api/health', 'x-http-method-override': 'GET' },
  'x-keeper_session-session': OWNER,
}
const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

type Verdict = 'in' | 401 | 403 | 'guess'
interface CallerKind {
  headers: () => Record<string, string> | Promise<Record<string, string>>
  query?: string
  body?: string
  verdicts: Record<Rule, Verdict>
}
const verdicts = (open: Verdict, unlock: Verdict, tools: Verdict, owner: Verdict) => ({ open, unlock, tools, owner })
const EVERYWHERE = verdicts('in', 'in', 'in', 'in')
const STRANGER = verdicts('in', 'in', 401, 401)
const OTHER_SITE = verdicts('in', 403, 403, 403)

const CALLERS: Record<string, CallerKind> = {
  nobody: { headers: () => ({}), verdicts: STRANGER },
  // `guess`: 401, and after a few of them 429.
  'a wrong key': { headers: () => bearer('wrong-key-0123456789'), verdicts: verdicts('in', 'guess', 'guess', 'guess') },
  "the owner's key": { headers: () => bearer(OWNER), verdicts: EVERYWHERE },
  "the owner's key, from anywhere": {
    headers: () => ({ ...bearer(OWNER), host: 'evil.example', origin: 'https://evil.example', ...FORGED }),
    verdicts: EVERYWHERE,
  },
  "the owner's key in the query": {
    headers: () => ({}),
    query: `?key=${OWNER}&access_token=${OWNER}`,
    verdicts: STRANGER,
  },
  "the owner's key in the body": { headers: () => ({}), body: JSON.stringify({ token: OWNER }), verdicts: STRANGER },
  "the owner's key as the cookie": { headers: () => ({ cookie: `keeper_session=${OWNER}` }), verdicts: STRANGER },
  "the owner's key in another scheme": {
    headers: () => ({ authorization: `Basic ${btoa(`keeper:${OWNER}`)}`, 'x-api-key': OWNER, 'keeper-key': OWNER }),
    verdicts: STRANGER,
  },
  "a tool's key": { headers: () => bearer(TOOL), verdicts: verdicts('in', 403, 'in', 403) },
  "a tool's key, from the trusted origin": {
    headers: () => ({ ...bearer(TOOL), origin: TRUSTED, 'sec-fetch-site': 'cross-site' }),
    verdicts: verdicts('in', 403, 'in', 403),
  },
  "a tool's key as the cookie": { headers: () => ({ cookie: `keeper_session=${TOOL}` }), verdicts: STRANGER },
  'a cookie': { headers: async () => ({ cookie: await unlock() }), verdicts: EVERYWHERE },
  'a stale cookie': { headers: async () => ({ cookie: await staleCookie() }), verdicts: STRANGER },
  'a locked cookie': { headers: async () => ({ cookie: await lockedCookie() }), verdicts: STRANGER },
  "a cookie, from another site's page": {
    headers: async () => ({ cookie: await unlock(), 'sec-fetch-site': 'cross-site' }),
    verdicts: OTHER_SITE,
  },
  'a cookie, from another origin': {
    headers: async () => ({ cookie: await unlock(), origin: 'https://evil.example' }),
    verdicts: OTHER_SITE,
  },
  'a cookie, from the trusted origin': {
    headers: async () => ({ cookie: await unlock(), origin: TRUSTED }),
    verdicts: OTHER_SITE,
  },
  'a cookie, by another host name': {
    headers: async () => ({ cookie: await unlock(), host: 'evil.example', ...FORGED }),
    verdicts: OTHER_SITE,
  },
  'nobody, with forged forwarding headers': { headers: () => FORGED, verdicts: STRANGER },
}

describe('the routes that were built', () => {
  const built = builtRoutes()

  it('are those that have a rule', () => {
    expect(built.sort()).toEqual(Object.keys(RULES).sort())
  })

  describe.each(Object.entries(CALLERS))('%s', (_, { headers, query = '', body, verdicts }) => {
    it.each(built)('at %s', async (route) => {
      const [own = '', path = ''] = route.split(' ')
      for (const method of METHODS) {
        const hasBody = ['POST', 'PUT', 'PATCH'].includes(method)
        const { status, body: text } = await send(method, path + query, await headers(), hasBody ? body : undefined)
        const what = `${method} ${route}: ${status} ${text}`
        const verdict = verdicts[RULES[route] ?? 'owner']
        // Whoever is let in is answered by the route, or told that it does not know the method.
        if (verdict === 'in') {
          expect([401, 403, 429], what).not.toContain(status)
          expect(status === 405, what).toBe(method !== own && own !== 'ANY')
        } else {
          expect(verdict === 'guess' ? [401, 429] : [verdict], what).toContain(status)
        }
      }
    })
  })
})

describe('the headers of every answer', () => {
  it.each([...builtRoutes(), 'GET /unknown'])('%s', async (route) => {
    const [own = '', path = ''] = route.split(' ')
    const method = own === 'ANY' ? 'GET' : own
    for (const caller of [{}, bearer(OWNER), bearer(TOOL)]) {
      const { headers } = await send(method, path, { ...caller, 'x-forwarded-proto': 'https' })
      expect(headers).toMatchObject({
        'content-security-policy': expect.stringMatching(/^default-src 'none';.*frame-ancestors 'none'$/),
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'strict-transport-security': expect.stringMatching(/^max-age=\d{7,}$/),
      })
      expect(headers['content-security-policy']).not.toContain('unsafe')
      expect(headers['set-cookie'] ?? []).toEqual(route === 'POST /api/access/lock' ? expect.anything() : [])
      // The page's own files are all that may be kept.
      if (!PAGE_FILES.includes(route.replace('GET ', ''))) expect(headers['cache-control']).toBe('no-store')
      expect((await send(method, path, caller)).headers).not.toHaveProperty('strict-transport-security')
    }
  })
})

describe('a path nobody thought about', () => {
  it.each(['/api/yotoo', '/api/anything', '/_scalar', '/_swagger', '/index.html', '/.env', '/.yoto_refresh_token'])(
    '%s is closed',
    async (path) => {
      for (const method of METHODS) expect((await send(method, path)).status).toBe(401)
      expect((await send('GET', path, bearer(TOOL))).status).toBe(403)
      expect((await send('GET', path, bearer(OWNER))).status).toBe(404)
    },
  )
})

/** Other ways to write a path, some of which servers take for the same one. */
function spellings(path: string): string[] {
  const encoded = [...path].map((letter) => `%${letter.charCodeAt(0).toString(16).padStart(2, '0')}`)
  const letters = [...path].map((_, at) => path.slice(0, at) + encoded[at] + path.slice(at + 1))
  return [
    ...letters,
    `/${encoded.slice(1).join('')}`,
    ...[`/${path}`, `//${path}`, `/.${path}`, `/x/..${path}`, path.replace('/api/', '/api//')],
    ...[`${path}/`, `${path}//`, `${path}/.`, `${path}/x/..`, `${path}%2f`, `${path}%00`, `${path}%20`, `${path}.`],
    ...[`${path};`, `${path};x=1`, `${path}%3bx`, `${path}%3f`, `${path}%23`, `${path}?`, `${path}#`, `${path}?a?b`],
    ...[path.toUpperCase(), path.replaceAll('/', '\\'), `\\${path}`, path.replaceAll('/', '%5c')],
    // By way of what is open, and of what tools may use.
    ...['/api/health', '/style.css', '/', '/api/token', '/api/yoto/x'].flatMap((from) => [
      ...[`${from}/..${path}`, `${from}/../..${path}`, `${from}/%2e%2e${path}`, `${from}%2f..%2f..${path}`],
      ...[`${from}/..;${path}`, `${from};${path}`, `${from}?${path}`, `${from}%3f${path}`, `${from}\\..${path}`],
      ...[`${from}#${path}`, `${from}%23${path}`, `${from}%00${path}`],
    ]),
    // As if it led to what is open.
    ...[`${path}/../health`, `${path}/%2e%2e/health`, `${path}/x/../../../api/health`, `${path}/..%2fhealth`],
    `http://localhost${path}`,
    `http://localhost/api/health/..${path}`,
  ]
}

describe('no other spelling of a path walks around the guard', () => {
  const guarded = Object.entries(RULES).filter(([, rule]) => rule === 'owner' || rule === 'tools')

  it.each(guarded)('%s', async (route, rule) => {
    const [own = '', path = ''] = route.split(' ')
    const method = own === 'ANY' ? 'GET' : own
    const isReached = ({ status, body }: Answer) => status < 400 && !isOpenAnswer(body)
    let reachedByOwner = 0
    for (const spelling of spellings(path)) {
      expect(isReached(await send(method, spelling)), `nobody: ${spelling}`).toBe(false)
      const byTool = await send(method, spelling, bearer(TOOL))
      if (rule === 'owner') expect(isReached(byTool), `tool: ${spelling}`).toBe(false)
      // The owner would get in by some of them, so that the guard and not the router has kept the others out.
      const byOwner = await send(method, spelling, bearer(OWNER))
      if (isReached(byOwner) || /"not_configured"|The body is not JSON/.test(byOwner.body)) reachedByOwner++
    }
    expect(reachedByOwner).toBeGreaterThan(5)
  })

  /** What open routes say, which some of the spellings are other names of. */
  function isOpenAnswer(body: string): boolean {
    return /^\{"status":"ok"\}$|^\{"ready":|<script [^>]*src="\/client\.js"|font-family|^\/\/ @ts-check/.test(body)
  }
})

it('every route answers 503 and names KEEPER_KEY where there is no key and none can be made', async (context) => {
  const keyless = await startKeeper({ env: { KEEPER_KEY: '', RAILWAY_ENVIRONMENT_NAME: 'production', DATA_DIR: '.' } })
  context.onTestFinished(() => void keyless.kill())
  const refusal = { error: 'not_configured', hint: expect.stringContaining('KEEPER_KEY') }
  for (const [route, rule] of Object.entries(RULES)) {
    const [own, path = ''] = route.split(' ')
    const method = own === 'ANY' ? 'GET' : own
    if (rule === 'open') continue
    const body = rule === 'unlock' ? JSON.stringify({ key: 'anything' }) : undefined
    for (const headers of [{ authorization: 'Bearer anything' }, { authorization: '' }]) {
      expect(await keyless.json(path, { method, headers, body }), route).toMatchObject({ status: 503, body: refusal })
    }
  }
  const ready = { status: 503, body: { ready: false, reason: 'not_configured' } }
  expect(await keyless.json('/api/ready')).toMatchObject(ready)
  await waitUntil(() => keyless.log().includes('Set KEEPER_KEY'), { what: 'the log said so' })
  expect(keyless.log()).not.toContain('#key=')
})
