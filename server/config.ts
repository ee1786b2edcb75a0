import * as v from 'valibot'
import { addressHeader } from './platform'

/** Everything that is set from outside. Durations are milliseconds; addresses have no trailing slash. */
export interface Config {
  /** The app's client id at Yoto; without one the service starts and says how to get one. */
  readonly clientId?: string
  readonly clientSecret?: string
  /** Space-separated, `offline_access` included. */
  readonly scope: string
  readonly audience: string
  /** The authorization server. */
  readonly authUrl: string
  readonly apiUrl: string
  readonly refreshInterval: number
  /** The folder for files. */
  readonly dataDir: string
  /** Files last on a mounted volume only: everything else goes with the container. */
  readonly needsVolume: boolean
  /** Keep state there instead of in files. */
  readonly redisUrl?: string
  readonly upstash?: { readonly url: string; readonly token: string }
  /** The name of this deployment's environment: what is kept in a shared store begins with it. */
  readonly environment: string
  /** Why what is kept would not survive the next deployment; undefined where it does. */
  readonly storageWarning?: string
  readonly keeperKey?: string
  /** Keys for programs, by name. */
  readonly toolKeys: readonly { name: string; key: string }[]
  /** What is stored is encrypted with the first; the others still open what they have encrypted. Empty: plain. */
  readonly encryptionKeys: readonly string[]
  /** The one other origin whose pages may call, with a key. */
  readonly corsOrigin?: string
  /** The header in which the platform's edge names the caller's address, whatever the caller has sent. */
  readonly addressHeader?: string
  /** Where people reach the service; the first is used in links. Empty: unknown. */
  readonly publicUrls: readonly string[]
  /** Where the owner is told what is wrong. A secret: a topic's name or a token may be in it. */
  readonly notifyUrl?: string
}

/** The environment does not make a configuration. The message lists every problem with its mend, and no value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

const VOLUME_WARNING =
  'Railway has no volume attached here: the sign-in would be gone at the next deployment. ' +
  'Add one with `railway volume add --mount-path /data`.'

const OUTSIDE_WARNING =
  'DATA_DIR is not on the volume: the sign-in would be gone at the next deployment. Remove it, or put it there.'

const isLoopback = (host: string) => /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(host)

function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

/** https, or http where nothing leaves the machine: a token must not travel in the clear. */
function isServerAddress(text: string): boolean {
  const url = parseUrl(text)
  if (!url || url.username || url.password || url.search || url.hash) return false
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url.hostname))
}

function isOrigin(text: string): boolean {
  const url = parseUrl(text)
  return (
    !!url &&
    /^https?:$/.test(url.protocol) &&
    !url.username &&
    !url.password &&
    url.pathname === '/' &&
    !url.search &&
    !url.hash
  )
}

/** Any host, and http too: it may stand in the house, and no token is sent. fetch refuses an address with a user name. */
function isNoticeAddress(text: string): boolean {
  const url = parseUrl(text)
  return !!url && /^https?:$/.test(url.protocol) && !url.username && !url.password
}

const withoutSlash = v.transform((text: string) => text.replace(/\/+$/, ''))

const ServerAddress = v.pipe(
  v.string(),
  v.check(isServerAddress, 'must be an https address, or http on a loopback address, without query or user name'),
  withoutSlash,
)

function isRedisAddress(text: string): boolean {
  const url = parseUrl(text)
  return !!url?.hostname && /^rediss?:$/.test(url.protocol)
}

const Visible = v.regex(/^[\x21-\x7e]+$/, 'must be printable characters without spaces: copy it again')

const KEY_MEND = 'make one with `openssl rand -hex 32`'

const list = v.transform((text: string) => text.split(',').map((one) => one.trim()))

const ToolKeys = v.pipe(
  v.string(),
  list,
  v.everyItem(
    (one) => /^[\w.-]{1,40}:[\x21-\x7e]{16,}$/.test(one),
    `must be name:key,name:key with names of letters, digits, . _ - and keys of 16 characters or more: ${KEY_MEND}`,
  ),
  v.transform((all) =>
    all.map((one) => ({ name: one.slice(0, one.indexOf(':')), key: one.slice(one.indexOf(':') + 1) })),
  ),
  v.check((all) => areDifferent(all.map(({ name }) => name)), 'must not have the same name twice'),
  v.check((all) => areDifferent(all.map(({ key }) => key)), 'must not have the same key twice'),
)

function areDifferent(all: string[]): boolean {
  return new Set(all).size === all.length
}

const Environment = v.pipe(
  v.object({
    YOTO_CLIENT_ID: v.optional(v.pipe(v.string(), Visible)),
    YOTO_CLIENT_SECRET: v.optional(v.pipe(v.string(), Visible)),
    YOTO_SCOPE: v.optional(
      v.pipe(
        v.string(),
        v.regex(/^[\x21\x23-\x5b\x5d-\x7e]+( +[\x21\x23-\x5b\x5d-\x7e]+)*$/, 'must be scopes separated by spaces'),
      ),
      'offline_access',
    ),
    YOTO_AUDIENCE: v.optional(v.string(), 'https://api.yotoplay.com'),
    YOTO_AUTH_URL: v.optional(ServerAddress, 'https://login.yotoplay.com'),
    YOTO_API_URL: v.optional(ServerAddress, 'https://api.yotoplay.com'),
    TOKEN_REFRESH_INTERVAL_HOURS: v.optional(
      v.pipe(
        v.string(),
        v.decimal('must be a number of hours from 1 to 23'),
        v.transform(Number),
        v.minValue(1, 'must be a number of hours from 1 to 23'),
        v.maxValue(23, 'must be a number of hours from 1 to 23'),
      ),
      '12',
    ),
    RAILWAY_ENVIRONMENT_NAME: v.optional(v.string()),
    RAILWAY_VOLUME_MOUNT_PATH: v.optional(v.string()),
    RAILWAY_PUBLIC_DOMAIN: v.optional(
      v.pipe(
        v.string(),
        v.check((host) => isOrigin(`https://${host}`), 'must be a host name'),
      ),
    ),
    VERCEL_ENV: v.optional(v.string()),
    VERCEL_TARGET_ENV: v.optional(v.string()),
    DATA_DIR: v.optional(v.string()),
    REDIS_URL: v.optional(
      v.pipe(
        v.string(),
        v.check(isRedisAddress, 'must be an address such as redis://user:password@host:6379, or rediss:// for TLS'),
      ),
    ),
    UPSTASH_REDIS_REST_URL: v.optional(ServerAddress),
    UPSTASH_REDIS_REST_TOKEN: v.optional(v.pipe(v.string(), Visible)),
    KV_REST_API_URL: v.optional(ServerAddress),
    KV_REST_API_TOKEN: v.optional(v.pipe(v.string(), Visible)),
    KEEPER_KEY: v.optional(
      v.pipe(v.string(), Visible, v.minLength(16, `must have 16 characters or more: ${KEY_MEND}`)),
    ),
    KEEPER_TOOL_KEYS: v.optional(ToolKeys),
    KEEPER_ENCRYPTION_KEY: v.optional(
      v.pipe(
        v.string(),
        list,
        v.everyItem((one) => /^[\x21-\x7e]{32,}$/.test(one), `must have 32 characters or more, each: ${KEY_MEND}`),
      ),
    ),
    CORS_ORIGIN: v.optional(
      v.pipe(
        v.string(),
        v.check(isOrigin, 'must be one origin such as https://tool.example, without a path'),
        v.transform((text) => new URL(text).origin),
      ),
    ),
    PUBLIC_URL: v.optional(
      v.pipe(
        v.string(),
        v.transform((list) => list.split(',').map((one) => one.trim().replace(/\/+$/, ''))),
        v.everyItem(isOrigin, 'must be addresses such as https://keeper.example, separated by commas, without a path'),
      ),
    ),
    NOTIFY_URL: v.optional(
      v.pipe(v.string(), v.check(isNoticeAddress, 'must be an http or https address without user name or password')),
    ),
    PORT: v.optional(
      v.pipe(
        v.string(),
        v.regex(/^\d{1,5}$/, 'must be a port number'),
        v.transform(Number),
        v.maxValue(65535, 'must be a port number'),
      ),
    ),
  }),
  v.forward(
    v.partialCheck(
      [['KEEPER_KEY'], ['KEEPER_TOOL_KEYS']],
      ({ KEEPER_KEY, KEEPER_TOOL_KEYS }) => !KEEPER_TOOL_KEYS?.some(({ key }) => key === KEEPER_KEY),
      "must not have the owner's key",
    ),
    ['KEEPER_TOOL_KEYS'],
  ),
  // One without the other would keep the state elsewhere than was meant.
  v.forward(
    v.partialCheck(
      [['UPSTASH_REDIS_REST_URL'], ['UPSTASH_REDIS_REST_TOKEN']],
      ({ UPSTASH_REDIS_REST_URL, UPSTASH_REDIS_REST_TOKEN }) => !UPSTASH_REDIS_REST_URL === !UPSTASH_REDIS_REST_TOKEN,
      'must come with UPSTASH_REDIS_REST_URL: set both, or neither',
    ),
    ['UPSTASH_REDIS_REST_TOKEN'],
  ),
  v.forward(
    v.partialCheck(
      [['KV_REST_API_URL'], ['KV_REST_API_TOKEN']],
      ({ KV_REST_API_URL, KV_REST_API_TOKEN }) => !KV_REST_API_URL === !KV_REST_API_TOKEN,
      'must come with KV_REST_API_URL: set both, or neither',
    ),
    ['KV_REST_API_TOKEN'],
  ),
)

function pairOf(url: string | undefined, token: string | undefined) {
  return url && token ? { url, token } : undefined
}

function railwayWarning(volume: string | undefined, dataDir: string | undefined): string | undefined {
  if (!volume) return VOLUME_WARNING
  const within = !dataDir || dataDir === volume || dataDir.startsWith(`${volume.replace(/\/+$/, '')}/`)
  return within ? undefined : OUTSIDE_WARNING
}

/**
 * Reads the configuration from environment variables; an empty one counts as unset.
 * @throws ConfigError with every problem and its mend, one a line; values are never repeated
 */
export function readConfig(env: Record<string, unknown>, cwd: string): Config {
  // Cloudflare's environment holds other things beside text.
  const trimmed = Object.entries(env).map(([name, value]) => [name, typeof value === 'string' && value.trim()])
  const set = Object.fromEntries(trimmed.filter(([, value]) => value))
  const parsed = v.safeParse(Environment, set)
  if (!parsed.success) {
    const problems = parsed.issues.map((issue) => `  ${v.getDotPath(issue)?.split('.')[0]} ${issue.message}`)
    throw new ConfigError(`The configuration cannot be used:\n${[...new Set(problems)].join('\n')}`)
  }
  const e = parsed.output
  const onRailway = e.RAILWAY_ENVIRONMENT_NAME !== undefined
  const volume = e.RAILWAY_VOLUME_MOUNT_PATH
  const upstash =
    pairOf(e.UPSTASH_REDIS_REST_URL, e.UPSTASH_REDIS_REST_TOKEN) ?? pairOf(e.KV_REST_API_URL, e.KV_REST_API_TOKEN)
  const isShared = e.REDIS_URL !== undefined || upstash !== undefined
  return Object.freeze({
    clientId: e.YOTO_CLIENT_ID,
    clientSecret: e.YOTO_CLIENT_SECRET,
    scope: [...new Set([...e.YOTO_SCOPE.split(/ +/), 'offline_access'])].join(' '),
    audience: e.YOTO_AUDIENCE,
    authUrl: e.YOTO_AUTH_URL,
    apiUrl: e.YOTO_API_URL,
    refreshInterval: Number(e.TOKEN_REFRESH_INTERVAL_HOURS) * 3_600_000,
    dataDir: e.DATA_DIR ?? (onRailway ? (volume ?? '/data') : cwd),
    needsVolume: onRailway,
    redisUrl: e.REDIS_URL,
    upstash,
    // Netlify has no such variable at run time (docs.netlify.com, environment variables and functions).
    environment: e.RAILWAY_ENVIRONMENT_NAME ?? e.VERCEL_TARGET_ENV ?? e.VERCEL_ENV ?? 'production',
    storageWarning: onRailway && !isShared ? railwayWarning(volume, e.DATA_DIR) : undefined,
    keeperKey: e.KEEPER_KEY,
    toolKeys: e.KEEPER_TOOL_KEYS ?? [],
    encryptionKeys: e.KEEPER_ENCRYPTION_KEY ?? [],
    corsOrigin: e.CORS_ORIGIN,
    // Railway's edge sets it (docs.railway.com, public networking: specs); who sits inside its private network may claim anything.
    addressHeader: onRailway ? 'x-real-ip' : addressHeader,
    publicUrls: e.PUBLIC_URL ?? (e.RAILWAY_PUBLIC_DOMAIN ? [`https://${e.RAILWAY_PUBLIC_DOMAIN}`] : []),
    notifyUrl: e.NOTIFY_URL,
  })
}
