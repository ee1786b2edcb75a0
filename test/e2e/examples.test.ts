import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import * as v from 'valibot'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Demo, prepareDemo } from '../support/demo-parts'
import { freePort, type Keeper, startKeeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

// Every program in examples/, run as its first lines say, against the parts of the demo.

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TOOL_KEY = 'examples-"tool"-key-0123456789'
const WRONG_KEY = 'examples-wrong-key-0123456789'
const SIGNED_OUT = 'Nobody is signed in.'

/** The first of these commands that there is; in CI there must be one (.ci/run). */
function find(candidates: string[], ...args: string[]): string | undefined {
  const found = candidates.find((command) => spawnSync(command, args).status === 0)
  if (!found && process.env.CI) throw new Error(`${candidates.join(' or ')} ${args.join(' ')} does not run`)
  return found
}
const curl = find(['curl'], '--version')
const ps = find(['ps'], '-eo', 'args')
const python = find(['python3', '/usr/bin/python3'], '--version')
/** With what Home Assistant reads YAML and templates with. */
const pythonOfHomeAssistant = find(['python3', '/usr/bin/python3'], '-c', 'import jinja2, yaml')
const node = { stripsTypes: Boolean((process.features as { typescript?: unknown }).typescript) }

let demo: Demo
let keeper: Keeper
/** Another one, at which nobody has signed in, and a port that nobody listens on. */
let signedOut: Keeper
let nobody: string
const folder = mkdtempSync(join(tmpdir(), 'keeper-examples-'))

beforeAll(async () => {
  demo = await prepareDemo(await freePort(), { interval: 1 })
  const env = { ...demo.env, KEEPER_TOOL_KEYS: `examples:${TOOL_KEY}` }
  keeper = await startKeeper({ env })
  signedOut = await startKeeper({ env: { ...env, PORT: String(await freePort()) } })
  nobody = `http://127.0.0.1:${await freePort()}`
  await signIn(keeper)
})

afterAll(async () => {
  await Promise.all([keeper?.stop(), signedOut?.stop()])
  await demo?.yoto.stop()
  rmSync(folder, { recursive: true, force: true })
})

async function signIn(at: Keeper): Promise<void> {
  const { body } = await at.json<{ user_code: string }>('/api/auth/start', { method: 'POST' })
  await demo.yoto.approve(body.user_code)
  await waitUntil(async () => (await at.json('/api/auth/status')).body.authenticated, { what: 'somebody is signed in' })
}

interface Result {
  code: number | null
  stdout: string
  stderr: string
}

const environment = (settings: Record<string, string>) => ({
  PATH: process.env.PATH ?? '',
  HOME: process.env.HOME ?? '',
  KEEPER_URL: keeper.url,
  KEEPER_KEY: TOOL_KEY,
  YOTO_API_URL: demo.yoto.url,
  ...settings,
})

/** In a shell, as a person would; whatever happens, no key and no token is shown. */
async function run(command: string, settings: Record<string, string> = {}): Promise<Result> {
  const env = environment(settings)
  const child = spawn('sh', ['-c', `exec ${command}`], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const result: Result = { code: null, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => (result.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (result.stderr += text))
  ;[result.code] = await once(child, 'close')
  expectNoSecret(result.stdout + result.stderr, env.KEEPER_KEY)
  return result
}

function expectNoSecret(text: string, key: string): void {
  if (key) expect(text).not.toContain(key)
  expect(text, 'a token').not.toMatch(/eyJ[\w-]+\./)
}

async function listen(handler: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(handler).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server }
}

const PLAYERS =
  '  Kitchen, y2demokitchen0000000000000, online: true\n  Bedroom “Mini”, y2demobedroom0000000000000, online: false\n'

const PROGRAMS: { command: string; runs: boolean; output: string }[] = [
  {
    command: 'sh examples/shell/players.sh',
    runs: Boolean(curl),
    output: `Asked with a token:\n${PLAYERS}Asked through the keeper:\n${PLAYERS}`,
  },
  {
    command: `${python} examples/python/battery.py`,
    runs: Boolean(python),
    output: 'Kitchen: 73 %\nBedroom “Mini”: 9 %, charging, offline, as of 2026-11-01T19:40:12.000Z\n',
  },
  ...['npx tsx', 'node'].map((runner) => ({
    command: `${runner} examples/typescript/library.ts`,
    runs: runner !== 'node' || node.stripsTypes,
    output:
      'The Lighthouse at Night, by A. Keeper: 42 min\nSongs for the Bath, by The Ducks: 24 min\nGrandma tells: 10 min\n',
  })),
]

describe.concurrent.each(PROGRAMS.filter(({ runs }) => runs))('$command', ({ command, output }) => {
  it("prints what Yoto has, with a tool's key", async () => {
    expect(await run(command)).toEqual({ code: 0, stdout: output, stderr: '' })
  })

  it('says in the keeper’s words that nobody is signed in, and what to do', async () => {
    const { code, stdout, stderr } = await run(command, { KEEPER_URL: signedOut.url })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain(SIGNED_OUT)
    expect(stderr).toContain((await signedOut.json<{ hint: string }>('/api/token')).body.hint)
    expect(stderr).not.toMatch(/[{}]|Traceback|\n.*\n/)
  })

  it('says that the key is wrong', async () => {
    const { code, stderr } = await run(command, { KEEPER_KEY: WRONG_KEY })
    expect(code).toBe(1)
    expect(stderr).toMatch(/key/)
    expect(stderr).not.toMatch(/[{}]|Traceback|\n.*\n/)
  })

  it('says that the keeper is not there', async () => {
    const { code, stderr } = await run(command, { KEEPER_URL: nobody })
    expect(code).toBe(1)
    expect(stderr).toContain(new URL(nobody).port)
    expect(stderr).not.toMatch(/Traceback|\n.*\n/)
  })

  it('asks for what it needs, and does not show a key that cannot be sent', async () => {
    for (const KEEPER_KEY of ['', `${TOOL_KEY}€`, `${TOOL_KEY}€\nx`]) {
      const { code, stdout, stderr } = await run(command, { KEEPER_KEY })
      expect(code).not.toBe(0)
      expect(stdout).toBe('')
      expect(stderr).toMatch(/KEEPER_KEY|key is wrong/)
      expect(stderr).not.toContain(TOOL_KEY)
    }
  })
})

describe('the upload of an icon', () => {
  const path = join(folder, 'picture.png')
  const command = `npx tsx examples/typescript/upload-icon.ts ${path}`
  /** 3 MB: more than any buffer on the way. */
  const picture = Buffer.alloc(3_000_000, 'picture')
  beforeAll(() => writeFileSync(path, picture))

  it('arrives whole', async () => {
    const mediaId = createHash('sha256').update(picture).digest('base64url')
    expect(await run(command)).toEqual({ code: 0, stdout: `Uploaded: yoto:#${mediaId}\n`, stderr: '' })
  })

  it('is told that nobody is signed in, though the answer comes before all was sent', async () => {
    const { code, stderr } = await run(command, { KEEPER_URL: signedOut.url })
    expect(code).toBe(1)
    expect(stderr).toContain(SIGNED_OUT)
  })
})

describe.skipIf(!curl || !ps)('the shell example', () => {
  it('has no key and no token among the arguments that ps shows', async () => {
    const seen: string[] = []
    const arrived = await listen((request, response) => {
      seen.push(spawnSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).stdout)
      if (request.url?.startsWith('/api/token')) response.end('a-token-that-ps-must-not-show')
      else response.end('{"devices":[]}')
    })
    const { code } = await run('sh examples/shell/players.sh', { KEEPER_URL: arrived.url })
    arrived.server.close()
    expect(code).toBe(1) // the demo's API takes no such token
    expect(seen[0]).toContain('curl')
    expect(seen.join()).not.toContain(TOOL_KEY)
  })
})

describe.skipIf(!python)('the Python client', () => {
  /** What one call at such a keeper comes to. */
  const ask = (url: string) =>
    run(`${python} -c 'import keeper; print(keeper.yoto("/x"))'`, { KEEPER_URL: url, PYTHONPATH: 'examples/python' })

  it('waits as Retry-After says, and asks again', async () => {
    const times: number[] = []
    const busy = await listen((_, response) => {
      times.push(performance.now())
      if (times.length > 1) return response.end('"done"')
      const headers = { 'retry-after': '1', 'keeper-error': 'yoto_unreachable' }
      response.writeHead(503, headers).end('{"error":"yoto_unreachable","message":"Yoto is away."}')
    })
    expect(await ask(busy.url)).toEqual({ code: 0, stdout: 'done\n', stderr: '' })
    busy.server.close()
    expect(times).toHaveLength(2)
    expect((times[1] as number) - (times[0] as number)).toBeGreaterThan(990)
  })

  it.each([401, 409])('does not ask again after %i', async (status) => {
    let calls = 0
    const refusing = await listen((_, response) => {
      calls++
      response.writeHead(status, { 'keeper-error': 'x' }).end('{"error":"x","message":"No."}')
    })
    expect((await ask(refusing.url)).stderr).toContain('No.')
    refusing.server.close()
    expect(calls).toBe(1)
  })

  it('does not carry the key to where a redirect leads', async () => {
    const shown: (string | undefined)[] = []
    const stranger = await listen((request, response) => {
      shown.push(request.headers.authorization)
      response.end('"stranger"')
    })
    const redirecting = await listen((request, response) => {
      shown.push(request.headers.authorization)
      response.writeHead(302, { location: stranger.url }).end()
    })
    expect((await ask(redirecting.url)).stdout).toBe('stranger\n')
    for (const { server } of [stranger, redirecting]) server.close()
    expect(shown).toEqual([`Bearer ${TOOL_KEY}`, undefined])
  })
})

describe.skipIf(!pythonOfHomeAssistant)('the Home Assistant package', () => {
  const secrets = join(folder, 'secrets.yaml')

  /** The entities, as Home Assistant would have them with such secrets. */
  async function entities(url: string, key = TOOL_KEY, player = 'y2demokitchen0000000000000') {
    const secret = {
      yoto_player: `${url}/api/yoto/device-v2/${player}/config`,
      yoto_keeper_authorization: `Bearer ${key}`,
    }
    writeFileSync(secrets, JSON.stringify(secret)) // YAML 1.2 holds all of JSON
    const { code, stdout, stderr } = await run(
      `${pythonOfHomeAssistant} test/support/home_assistant.py examples/home-assistant/yoto_token_keeper.yaml ${secrets}`,
    )
    expect(stderr).toBe('')
    expect(code).toBe(0)
    return Object.fromEntries(
      (JSON.parse(stdout) as { unique_id: string; state: string; attributes?: object }[]).map((entity) => [
        entity.unique_id,
        { state: entity.state, ...entity.attributes },
      ]),
    )
  }

  it('shows battery, charging and connection', async () => {
    expect(await entities(keeper.url)).toEqual({
      yoto_player_battery: { state: '73' },
      yoto_player_charging: { state: 'off' },
      yoto_player_online: { state: 'on' },
      yoto_sign_in: { state: 'ok' },
    })
    expect(await entities(keeper.url, TOOL_KEY, 'y2demobedroom0000000000000')).toMatchObject({
      yoto_player_battery: { state: '9' },
      yoto_player_charging: { state: 'on' },
      yoto_player_online: { state: 'off' },
    })
  })

  const gone = { state: 'unavailable' }
  const noPlayer = { yoto_player_battery: gone, yoto_player_charging: gone, yoto_player_online: gone }

  it('shows the keeper’s error where there is nothing else to show', async () => {
    const { body } = await signedOut.json<{ message: string; hint: string }>('/api/token')
    expect(await entities(signedOut.url)).toEqual({
      ...noPlayer,
      yoto_sign_in: { state: 'signed_out', message: body.message, hint: body.hint },
    })
    expect(await entities(keeper.url, WRONG_KEY)).toMatchObject({
      ...noPlayer,
      yoto_sign_in: { state: 'unauthorized' },
    })
  })

  it('is unavailable where nothing answers, and where it is not JSON', async () => {
    expect(await entities(nobody)).toEqual({ ...noPlayer, yoto_sign_in: gone })
    const page = await listen((_, response) => response.end('<p>Soon.</p>'))
    expect(await entities(page.url)).toEqual({ ...noPlayer, yoto_sign_in: gone })
    page.server.close()
  })

  it('has no battery of a player that Yoto does not know', async () => {
    expect(await entities(keeper.url, TOOL_KEY, 'nobodys')).toMatchObject(noPlayer)
  })
})

/**
 * What yoto-smart-stream at 7e46540 (January 2026) declares for its answers, in api/routes/auth.py; its models ignore further keys. Its
 * page (static/js/dashboard.js) and its MCP server (mcp-server/server.py) read of them: status `authenticated`; start all but `expires_in`
 * and `interval`; poll `status`, of which the page knows `success` and `expired`, `authenticated` and `message`; logout `message`.
 */
const SmartStream = {
  AuthStatus: v.object({ authenticated: v.boolean(), message: v.string() }),
  DeviceCodeResponse: v.object({
    verification_uri: v.string(),
    verification_uri_complete: v.string(),
    user_code: v.string(),
    device_code: v.string(),
    expires_in: v.pipe(v.number(), v.integer()),
    interval: v.pipe(v.number(), v.integer()),
  }),
  AuthPollResponse: v.object({
    status: v.picklist(['pending', 'success', 'expired', 'error']),
    message: v.string(),
    authenticated: v.boolean(),
  }),
  logout: v.object({ success: v.literal(true), message: v.string() }),
}

describe('the routes that yoto-smart-stream has too', () => {
  it('answer a whole sign-in in its shapes, asked as its page asks', async () => {
    const own = await startKeeper({ env: { ...demo.env, PORT: String(await freePort()) } })
    const ask = async <T extends v.GenericSchema>(path: string, schema: T, init?: RequestInit) => {
      const { status, body } = await own.json(path, init)
      expect(status).toBe(200)
      return v.parse(schema, body)
    }
    // Also where nothing is sent, the page says that it is JSON.
    const post = (body?: object): RequestInit => ({
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    })
    const { AuthStatus, DeviceCodeResponse, AuthPollResponse, logout } = SmartStream

    expect(await ask('/api/auth/status', AuthStatus)).toMatchObject({ authenticated: false })
    const refused = await ask('/api/auth/start', DeviceCodeResponse, post())
    const poll = ({ device_code }: { device_code: string }) =>
      ask('/api/auth/poll', AuthPollResponse, post({ device_code }))
    expect(await poll(refused)).toMatchObject({ status: 'pending', authenticated: false })
    await demo.yoto.deny(refused.user_code)
    await waitUntil(async () => (await poll(refused)).status === 'error', { what: 'the refusal is known' })

    const approved = await ask('/api/auth/start', DeviceCodeResponse, { method: 'POST' }) // as the MCP server asks
    await demo.yoto.approve(approved.user_code)
    await waitUntil(async () => (await poll(approved)).status === 'success', { what: 'the sign-in is known' })
    expect(await poll(approved)).toMatchObject({ status: 'success', authenticated: true })
    expect(await ask('/api/auth/status', AuthStatus)).toMatchObject({ authenticated: true })

    await ask('/api/auth/logout', logout, post())
    expect(await ask('/api/auth/status', AuthStatus)).toMatchObject({ authenticated: false })
    await own.stop()
  })
})

describe.skipIf(!python)('the drop-in for yoto-smart-stream', () => {
  const installed = join(folder, 'app')
  let own: Keeper
  let child: ChildProcess

  beforeAll(async () => {
    const core = join(installed, 'yoto_smart_stream/core')
    mkdirSync(core, { recursive: true })
    for (const file of ['python/keeper.py', 'yoto-smart-stream/keeper_yoto_client.py']) {
      copyFileSync(join(ROOT, 'examples', file), join(core, file.split('/')[1] as string))
    }
    const env = { ...demo.env, PORT: String(await freePort()), KEEPER_TOOL_KEYS: `examples:${TOOL_KEY}` }
    own = await startKeeper({ env })
  })
  afterAll(() => own?.stop())

  interface Told {
    answer?: Record<string, string>
    error?: string
    authenticated: boolean
  }
  /** Starts the app with this key; what comes back makes one of its calls. */
  function startApp(key: string): (command: string) => Promise<Told> {
    const env = environment({ KEEPER_URL: own.url, KEEPER_KEY: key })
    child = spawn(python as string, ['test/support/smart_stream.py', installed], { cwd: ROOT, env, stdio: 'pipe' })
    child.stderr?.pipe(process.stderr)
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
    return async (command) => {
      child.stdin?.write(`${command}\n`)
      return JSON.parse((await lines.next()).value as string) as Told
    }
  }
  const stopApp = async () => {
    child.stdin?.end()
    await once(child, 'close')
  }

  it('signs in with the app’s own button, asks the keeper for tokens, and signs out', async () => {
    const app = startApp(own.key)
    expect(await app('ensure')).toMatchObject({ error: expect.stringContaining(SIGNED_OUT), authenticated: false })

    const { answer } = await app('start')
    v.parse(SmartStream.DeviceCodeResponse, answer)
    expect((await app('poll')).error).toMatch(/^authorization_pending/)
    await demo.yoto.approve(answer?.user_code as string)
    await waitUntil(async () => (await app('poll')).authenticated, { what: 'the app is signed in' })
    const { access_token } = (await own.json<{ access_token: string }>('/api/token')).body
    const token = { access_token, players: { 'updated with': access_token } }
    expect((await app('token')).answer).toEqual(token)

    await app('expire')
    expect(await app('ensure')).toMatchObject({ authenticated: true })
    expect((await app('token')).answer).toMatchObject({ access_token })

    expect(await app('logout')).toMatchObject({ authenticated: false })
    expect((await own.json('/api/auth/status')).body).toMatchObject({ state: 'signed_out' })
    await stopApp()
  })

  it('lets the page stop waiting where the sign-in was refused', async () => {
    const app = startApp(own.key)
    const { answer } = await app('start')
    await demo.yoto.deny(answer?.user_code as string)
    await waitUntil(async () => /^expired_token/.test((await app('poll')).error ?? ''), { what: 'the app knows' })
    await stopApp()
  })

  it('needs no more than a tool’s key where the sign-in is made at the keeper', async () => {
    await signIn(own)
    const app = startApp(TOOL_KEY)
    expect(await app('ensure')).toMatchObject({ authenticated: true })
    const { access_token } = (await own.json<{ access_token: string }>('/api/token')).body
    expect((await app('token')).answer).toMatchObject({ access_token })
    expect((await app('start')).error).toContain("A tool's key")
    expect(await app('logout')).toMatchObject({ error: expect.stringContaining("A tool's key"), authenticated: true })
    await stopApp()
  })
})
