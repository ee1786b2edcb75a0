import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { isKeyMissing } from '../../server/access/access'
import { ConfigError, readConfig } from '../../server/config'
import { unknownScopes } from '../../server/yoto/scopes'
import { startKeeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

const CWD = '/somewhere'
const read = (env: Record<string, string | undefined> = {}) => readConfig(env, CWD)

function problemsOf(env: Record<string, string>): string {
  try {
    read(env)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    return (error as Error).message
  }
  throw new Error('the configuration was accepted')
}

describe('readConfig', () => {
  const DEFAULTS = {
    clientId: undefined,
    clientSecret: undefined,
    scope: 'offline_access',
    audience: 'https://api.yotoplay.com',
    authUrl: 'https://login.yotoplay.com',
    apiUrl: 'https://api.yotoplay.com',
    refreshInterval: 12 * 3_600_000,
    dataDir: CWD,
    needsVolume: false,
    redisUrl: undefined,
    upstash: undefined,
    environment: 'production',
    storageWarning: undefined,
    keeperKey: undefined,
    toolKeys: [],
    encryptionKeys: [],
    corsOrigin: undefined,
    addressHeader: undefined,
    publicUrls: [],
    notifyUrl: undefined,
  }
  const NAMES = [
    ...['YOTO_CLIENT_ID', 'YOTO_CLIENT_SECRET', 'YOTO_SCOPE', 'YOTO_AUDIENCE', 'YOTO_AUTH_URL', 'YOTO_API_URL'],
    ...['TOKEN_REFRESH_INTERVAL_HOURS', 'RAILWAY_ENVIRONMENT_NAME', 'RAILWAY_VOLUME_MOUNT_PATH'],
    ...['RAILWAY_PUBLIC_DOMAIN', 'DATA_DIR', 'KEEPER_KEY', 'PUBLIC_URL', 'PORT'],
    ...['KEEPER_TOOL_KEYS', 'KEEPER_ENCRYPTION_KEY', 'CORS_ORIGIN', 'NOTIFY_URL'],
    ...['REDIS_URL', 'UPSTASH_REDIS_REST_URL', 'UPSTASH_REDIS_REST_TOKEN', 'KV_REST_API_URL', 'KV_REST_API_TOKEN'],
    ...['VERCEL_ENV', 'VERCEL_TARGET_ENV'],
  ]

  it.each([
    ['no variable is set', {}],
    ['every variable is empty', Object.fromEntries(NAMES.map((name) => [name, '']))],
    ['every variable is blank', Object.fromEntries(NAMES.map((name) => [name, ' \t']))],
  ])('has its defaults when %s', (_, env) => {
    expect(read(env)).toEqual(DEFAULTS)
  })

  it('cannot be changed', () => {
    expect(Object.isFrozen(read())).toBe(true)
  })

  it.each([
    ['YOTO_CLIENT_ID', 'abc', { clientId: 'abc' }],
    ['YOTO_CLIENT_SECRET', 's3cret', { clientSecret: 's3cret' }],
    ['YOTO_AUDIENCE', 'https://other.example', { audience: 'https://other.example' }],
    ['YOTO_AUTH_URL', 'https://login.example/', { authUrl: 'https://login.example' }],
    ['YOTO_AUTH_URL', 'https://login.example/tenant//', { authUrl: 'https://login.example/tenant' }],
    ['YOTO_AUTH_URL', 'https://login.example \n', { authUrl: 'https://login.example' }],
    ['YOTO_AUTH_URL', 'http://localhost:4000', { authUrl: 'http://localhost:4000' }],
    ['YOTO_API_URL', 'http://127.0.0.2:4000', { apiUrl: 'http://127.0.0.2:4000' }],
    ['YOTO_API_URL', 'http://[::1]:4000/', { apiUrl: 'http://[::1]:4000' }],
    ['TOKEN_REFRESH_INTERVAL_HOURS', '1', { refreshInterval: 3_600_000 }],
    ['TOKEN_REFRESH_INTERVAL_HOURS', '1.5', { refreshInterval: 5_400_000 }],
    ['TOKEN_REFRESH_INTERVAL_HOURS', '23', { refreshInterval: 82_800_000 }],
    ['KEEPER_KEY', '0123456789abcdef', { keeperKey: '0123456789abcdef' }],
    ['KEEPER_TOOL_KEYS', 'ha:0123456789abcdef', { toolKeys: [{ name: 'ha', key: '0123456789abcdef' }] }],
    [
      'KEEPER_TOOL_KEYS',
      'Home_1.x:0123456789:abcde , b:fedcba9876543210 ',
      {
        toolKeys: [
          { name: 'Home_1.x', key: '0123456789:abcde' },
          { name: 'b', key: 'fedcba9876543210' },
        ],
      },
    ],
    ['KEEPER_ENCRYPTION_KEY', 'x'.repeat(32), { encryptionKeys: ['x'.repeat(32)] }],
    [
      'KEEPER_ENCRYPTION_KEY',
      `${'y'.repeat(32)}, ${'x'.repeat(40)}`,
      { encryptionKeys: ['y'.repeat(32), 'x'.repeat(40)] },
    ],
    ['CORS_ORIGIN', 'HTTPS://Tool.example:443/', { corsOrigin: 'https://tool.example' }],
    ['CORS_ORIGIN', 'http://localhost:8123', { corsOrigin: 'http://localhost:8123' }],
    ['REDIS_URL', 'redis://redis.example', { redisUrl: 'redis://redis.example' }],
    ['REDIS_URL', 'rediss://me:p%40ss@[::1]:6380/2', { redisUrl: 'rediss://me:p%40ss@[::1]:6380/2' }],
    ['VERCEL_ENV', 'preview', { environment: 'preview' }],
    ['RAILWAY_PUBLIC_DOMAIN', 'keeper.up.railway.app', { publicUrls: ['https://keeper.up.railway.app'] }],
    ['PUBLIC_URL', 'https://one.example/, http://two:8080', { publicUrls: ['https://one.example', 'http://two:8080'] }],
    ['NOTIFY_URL', 'https://ntfy.example/topic?auth=x', { notifyUrl: 'https://ntfy.example/topic?auth=x' }],
    ['NOTIFY_URL', 'http://homeassistant:8123/api/webhook/x', { notifyUrl: 'http://homeassistant:8123/api/webhook/x' }],
  ])('takes %s=%j', (name, value, expected) => {
    expect(read({ [name]: value })).toEqual({ ...DEFAULTS, ...expected })
  })

  it('takes PUBLIC_URL over the domain that Railway gives', () => {
    const env = { PUBLIC_URL: 'https://one.example', RAILWAY_PUBLIC_DOMAIN: 'two.example' }
    expect(read(env).publicUrls).toEqual(['https://one.example'])
  })

  it.each([
    ['family:view', 'family:view offline_access'],
    ['offline_access family:view', 'offline_access family:view'],
    ['openid  offline_access openid offline_access', 'openid offline_access'],
  ])('asks for offline_access once when YOTO_SCOPE is %j', (scope, expected) => {
    expect(read({ YOTO_SCOPE: scope }).scope).toBe(expected)
  })

  it.each([
    ['the working directory locally', {}, CWD],
    ['the volume on Railway', { RAILWAY_ENVIRONMENT_NAME: 'production', RAILWAY_VOLUME_MOUNT_PATH: '/vol' }, '/vol'],
    ['/data on Railway without a volume', { RAILWAY_ENVIRONMENT_NAME: 'production' }, '/data'],
    ['the working directory when only a volume is named', { RAILWAY_VOLUME_MOUNT_PATH: '/vol' }, CWD],
    ['DATA_DIR over the working directory', { DATA_DIR: '/mine' }, '/mine'],
    [
      'DATA_DIR over the volume',
      { RAILWAY_ENVIRONMENT_NAME: 'production', RAILWAY_VOLUME_MOUNT_PATH: '/vol', DATA_DIR: '/mine' },
      '/mine',
    ],
  ])('keeps its files in %s', (_, env, dataDir) => {
    expect(read(env).dataDir).toBe(dataDir)
  })

  it('warns on Railway without a volume, with the mend, and nowhere else', () => {
    const railway = { RAILWAY_ENVIRONMENT_NAME: 'production' }
    expect(read(railway).storageWarning).toContain('railway volume add --mount-path /data')
    expect(read({ ...railway, RAILWAY_VOLUME_MOUNT_PATH: '/data' }).storageWarning).toBeUndefined()
    expect(read().storageWarning).toBeUndefined()
  })

  it.each([
    ['UPSTASH_REDIS_REST_URL', 'UPSTASH_REDIS_REST_TOKEN'],
    ['KV_REST_API_URL', 'KV_REST_API_TOKEN'],
  ])('takes %s with %s', (url, token) => {
    const upstash = { url: 'https://eu1-name.upstash.example', token: 'AbC=' }
    expect(read({ [url]: `${upstash.url}/`, [token]: upstash.token })).toEqual({ ...DEFAULTS, upstash })
  })

  it("takes Upstash's own names over Vercel's", () => {
    const own = { UPSTASH_REDIS_REST_URL: 'https://own.example', UPSTASH_REDIS_REST_TOKEN: 'own' }
    const vercels = { KV_REST_API_URL: 'https://kv.example', KV_REST_API_TOKEN: 'kv' }
    expect(read({ ...vercels, ...own }).upstash).toEqual({ url: 'https://own.example', token: 'own' })
  })

  it.each([
    ['production by default', {}, 'production'],
    ["Railway's", { RAILWAY_ENVIRONMENT_NAME: 'pr-12' }, 'pr-12'],
    ["Vercel's", { VERCEL_ENV: 'preview' }, 'preview'],
    ["Vercel's custom one", { VERCEL_ENV: 'preview', VERCEL_TARGET_ENV: 'staging' }, 'staging'],
  ])('calls its environment %s', (_, env, environment) => {
    expect(read(env).environment).toBe(environment)
  })

  it.each([
    ['Redis', { REDIS_URL: 'redis://redis.example' }],
    ['Upstash', { KV_REST_API_URL: 'https://kv.example', KV_REST_API_TOKEN: 'kv' }],
  ])('needs no volume on Railway, and can make a key, with %s', (_, store) => {
    const config = read({ RAILWAY_ENVIRONMENT_NAME: 'production', DATA_DIR: '/elsewhere', ...store })
    expect(config.storageWarning).toBeUndefined()
    expect(isKeyMissing(config)).toBe(false)
  })

  it('believes the header that the edge sets on Railway only', () => {
    expect(read({ RAILWAY_ENVIRONMENT_NAME: 'production' }).addressHeader).toBe('x-real-ip')
    expect(read({ RAILWAY_PUBLIC_DOMAIN: 'keeper.example' }).addressHeader).toBeUndefined()
  })

  it.each([
    ['/data', false],
    ['/data/keeper', false],
    ['/database', true],
    ['/elsewhere', true],
  ])('warns on Railway of a DATA_DIR that is not on the volume: %s', (dir, warns) => {
    const env = { RAILWAY_ENVIRONMENT_NAME: 'production', RAILWAY_VOLUME_MOUNT_PATH: '/data', DATA_DIR: dir }
    expect(read(env).storageWarning !== undefined).toBe(warns)
  })
})

/** Each value is wrong, and has `hush` in it: a secret that no message may repeat. */
const WRONG: [name: string, value: string, mend: RegExp][] = [
  ['YOTO_CLIENT_ID', 'hush hush', /printable characters without spaces/],
  ['YOTO_CLIENT_ID', 'hüsh-hush', /printable characters without spaces/],
  ['YOTO_CLIENT_SECRET', 'hush hush', /copy it again/],
  ['YOTO_SCOPE', 'openid,"hush"', /separated by spaces/],
  ['YOTO_AUTH_URL', 'http://hush.example', /https address/],
  ['YOTO_AUTH_URL', 'http://127.0.0.1.hush.example', /https address/],
  ['YOTO_AUTH_URL', 'https://name:hush@login.example', /without query or user name/],
  ['YOTO_AUTH_URL', 'https://login.example/?hush', /without query or user name/],
  ['YOTO_AUTH_URL', 'https://login.example/#hush', /https address/],
  ['YOTO_AUTH_URL', 'hush', /https address/],
  ['YOTO_API_URL', 'ftp://hush.example', /https address/],
  ['TOKEN_REFRESH_INTERVAL_HOURS', 'hush', /from 1 to 23/],
  ['TOKEN_REFRESH_INTERVAL_HOURS', '12h-hush', /from 1 to 23/],
  ['REDIS_URL', 'hush', /such as redis:\/\//],
  ['REDIS_URL', 'http://:hush@redis.example', /rediss:\/\/ for TLS/],
  ['REDIS_URL', 'redis://', /such as redis:\/\//],
  ['REDIS_URL', 'redis:hush', /such as redis:\/\//],
  ['UPSTASH_REDIS_REST_URL', 'http://hush.example', /https address/],
  ['UPSTASH_REDIS_REST_URL', 'rediss://:hush@eu1.upstash.example:6379', /https address/],
  ['UPSTASH_REDIS_REST_TOKEN', 'hush hush', /copy it again/],
  ['KV_REST_API_URL', 'https://name:hush@kv.example', /without query or user name/],
  ['KV_REST_API_TOKEN', 'hüsh-hush', /printable characters without spaces/],
  ['RAILWAY_PUBLIC_DOMAIN', 'hush.example/path', /host name/],
  ['KEEPER_KEY', 'hush', /16 characters or more.*openssl rand -hex 32/],
  ['KEEPER_KEY', 'hush with spaces, and long', /without spaces/],
  ['KEEPER_TOOL_KEYS', 'hush', /name:key.*16 characters or more.*openssl rand -hex 32/],
  ['KEEPER_TOOL_KEYS', 'ha:hush', /name:key.*16 characters or more/],
  ['KEEPER_TOOL_KEYS', 'ha:0123456789abcdef,', /name:key,name:key/],
  ['KEEPER_TOOL_KEYS', ':hush-hush-hush-hush', /name:key,name:key/],
  ['KEEPER_TOOL_KEYS', 'h a:hush-hush-hush-hush', /name:key,name:key/],
  ['KEEPER_TOOL_KEYS', 'ha:hush-hush-hush-hush,ha:hush-hush-hush-hus2', /same name twice/],
  ['KEEPER_TOOL_KEYS', 'ha:hush-hush-hush-hush,hb:hush-hush-hush-hush', /same key twice/],
  ['KEEPER_ENCRYPTION_KEY', 'hush', /32 characters or more.*openssl rand -hex 32/],
  ['KEEPER_ENCRYPTION_KEY', `${'x'.repeat(32)},hush`, /32 characters or more, each/],
  ['KEEPER_ENCRYPTION_KEY', `hush ${'x'.repeat(32)}`, /32 characters or more, each/],
  ['CORS_ORIGIN', 'https://hush.example/path', /one origin such as/],
  ['CORS_ORIGIN', 'https://hush.example,https://two.example', /one origin such as/],
  ['CORS_ORIGIN', '*', /one origin such as/],
  ['CORS_ORIGIN', 'null', /one origin such as/],
  ['PUBLIC_URL', 'https://:hush@one.example', /such as https:\/\/keeper\.example/],
  ['PUBLIC_URL', 'https://hush.example/path', /such as https:\/\/keeper\.example/],
  ['PUBLIC_URL', 'https://one.example, hush', /such as https:\/\/keeper\.example/],
  ['PUBLIC_URL', 'https://name:hush@one.example', /such as https:\/\/keeper\.example/],
  ['PUBLIC_URL', 'javascript:hush', /such as https:\/\/keeper\.example/],
  ['NOTIFY_URL', 'hush', /http or https address/],
  ['NOTIFY_URL', 'ntfy.sh/hush', /http or https address/],
  ['NOTIFY_URL', 'ftp://ntfy.example/hush', /http or https address/],
  ['NOTIFY_URL', 'https://hush@ntfy.example/topic', /without user name or password/],
  ['NOTIFY_URL', 'https://:hush@ntfy.example/topic', /without user name or password/],
  ['PORT', 'hush', /port number/],
]

describe('a wrong value', () => {
  it.each(WRONG)('of %s (%j) is named with its mend and not repeated', (name, value, mend) => {
    const message = problemsOf({ [name]: value })
    expect(message).toMatch(new RegExp(`^  ${name} must`, 'm'))
    expect(message).toMatch(mend)
    expect(message).not.toContain('hush')
  })

  it("of KEEPER_TOOL_KEYS is the owner's key", () => {
    const hush = 'hush-hush-hush-hush'
    const message = problemsOf({ KEEPER_KEY: hush, KEEPER_TOOL_KEYS: `ha:${hush}` })
    expect(message).toContain("KEEPER_TOOL_KEYS must not have the owner's key")
    expect(message).not.toContain('hush')
  })

  it.each(['0', '0.99', '24', '-1', 'NaN', 'Infinity', '0x10', '12,5'])('of an interval: %s hours', (hours) => {
    expect(problemsOf({ TOKEN_REFRESH_INTERVAL_HOURS: hours })).toContain('from 1 to 23')
  })

  it.each(['-1', '65536', '123456', '80.5', '0x50'])('of a port: %s', (port) => {
    expect(problemsOf({ PORT: port })).toContain('port number')
  })

  const everything = Object.fromEntries(WRONG.map(([name, value]) => [name, value]))

  it.each([
    ['UPSTASH_REDIS_REST_URL', 'UPSTASH_REDIS_REST_TOKEN'],
    ['KV_REST_API_URL', 'KV_REST_API_TOKEN'],
  ])('is %s without %s, and the other way round', (url, token) => {
    for (const half of [{ [url]: 'https://hush.example' }, { [token]: 'hush' }]) {
      const message = problemsOf(half)
      expect(message).toContain(`  ${token} must come with ${url}: set both, or neither`)
      expect(message).not.toContain('hush')
    }
  })

  it('among others is one line of one message', () => {
    const [title, ...problems] = problemsOf({ ...everything, YOTO_AUDIENCE: 'right' }).split('\n')
    expect(title).toBe('The configuration cannot be used:')
    const named = problems.map((line) => /^ {2}(\w+) must /.exec(line)?.[1])
    expect(named.sort()).toEqual(Object.keys(everything).sort())
  })

  it('ends the built service with exit code 1 and that message', () => {
    const entry = fileURLToPath(new URL('../../.output/server/index.mjs', import.meta.url))
    const { PATH = '', HOME = '' } = process.env
    const env = { PATH, HOME, HOST: '127.0.0.1', ...everything }
    const ended = spawnSync(process.execPath, [entry], { cwd: tmpdir(), env, encoding: 'utf8', timeout: 15_000 })
    expect(ended.status).toBe(1)
    expect(ended.stderr.trim()).toBe(problemsOf(everything))
    expect(ended.stdout).toBe('')
  })
})

describe('without YOTO_CLIENT_ID', () => {
  it('the built service starts, and says how to get one', async () => {
    const keeper = await startKeeper()
    expect(await keeper.json('/api/health')).toMatchObject({ status: 200, body: { status: 'ok' } })
    expect(await keeper.json('/api/ready')).toMatchObject({
      status: 503,
      body: { ready: false, reason: 'not_configured' },
    })
    expect(await keeper.json('/api/auth/status')).toMatchObject({
      status: 200,
      body: { authenticated: false, state: 'not_configured', hint: expect.stringContaining('yoto.dev') },
    })
    const refusal = { error: 'not_configured', hint: expect.stringContaining('yoto.dev') }
    expect(await keeper.json('/api/token')).toMatchObject({ status: 503, body: refusal })
    expect(await keeper.json('/api/auth/start', { method: 'POST' })).toMatchObject({ status: 503, body: refusal })
    await waitUntil(() => keeper.log().includes('YOTO_CLIENT_ID'), { what: 'the log said so' })
    await keeper.stop()
  })
})

describe('YOTO_SCOPE', () => {
  it('with a scope that Yoto does not list is passed on, with a warning at the start', async () => {
    const env = { YOTO_CLIENT_ID: 'x', YOTO_SCOPE: 'family:view made:up openid' }
    const keeper = await startKeeper({ env })
    await waitUntil(() => keeper.log().includes('YOTO_SCOPE'), { what: 'the log said so' })
    expect(keeper.log()).toMatch(/YOTO_SCOPE .*: made:up\./)
    const { headers } = await keeper.fetch('/api/auth/login', { redirect: 'manual' })
    const { searchParams } = new URL(headers.get('location') ?? '')
    expect(searchParams.get('scope')).toBe('family:view made:up openid offline_access')
    await keeper.stop()
  })

  it('with listed ones gives no warning', () => {
    expect(unknownScopes(read({ YOTO_SCOPE: 'family:library:view user:icons:manage profile' }).scope)).toEqual([])
    expect(unknownScopes(read().scope)).toEqual([])
  })
})
