import * as v from 'valibot'
import type { TokenStore } from '../../storage'
import type { Config } from '../config'
import { KeeperError } from '../errors'
import { parseJson } from '../yoto/outcome'
import { Token } from '../yoto/schemas'
import type { Clock } from './clock'
import { fingerprintOf, type TokenSet } from './token-set'

export const REFRESH_TOKEN = '.yoto_refresh_token'
export const TOKEN_SET = '.yoto_token_set.json'

/** The stored refresh token: `raw` as it lies there, for conditional writes; `token` without the white space around it. */
export interface StoredToken {
  raw: string
  token: string
  fingerprint: string
}

/** Which token, shown by which client to which server, something is about. */
const About = v.object({
  fingerprint: v.string(),
  client_id: v.string(),
  server: v.string(),
  at: v.pipe(v.string(), v.isoTimestamp()),
})

/** `.yoto_token_set.json`: what is known beside the refresh token. */
const Record = v.object({
  version: v.literal(1),
  fingerprint: v.optional(v.string()),
  family: v.optional(v.string()),
  rotation: v.optional(v.number()),
  client_id: v.optional(v.string()),
  access_token: v.optional(Token),
  issued_at: v.optional(v.pipe(v.string(), v.isoTimestamp())),
  expires_at: v.optional(v.pipe(v.string(), v.isoTimestamp())),
  scope: v.optional(v.string()),
  subject: v.optional(v.string()),
  /** A refresh was about to be sent; its outcome is not known (rule 5). */
  intent: v.optional(About),
  /** Yoto has refused this token: it is never sent again (rule 7). One for each client and server that has tried. */
  refusals: v.optional(v.array(v.object({ ...About.entries, message: v.string() }))),
  /** Somebody signed out; with a fingerprint: by the button, and this token is to be removed if it is still there. */
  signed_out: v.optional(v.object({ at: v.string(), fingerprint: v.optional(v.string()) })),
})

export type TokenRecord = v.InferOutput<typeof Record>

/**
 * Reads the stored refresh token.
 * @returns undefined when there is none
 * @throws KeeperError `needs_sign_in` when what is stored cannot be a token (it is left as it is); StorageError
 */
export async function readToken(store: TokenStore): Promise<StoredToken | undefined> {
  const raw = await store.read(REFRESH_TOKEN)
  if (raw === null) return undefined
  const token = raw.trim()
  const problem =
    token === ''
      ? 'is empty'
      : raw.length > 64 * 1024
        ? 'is larger than 64 kB'
        : v.is(Token, token)
          ? undefined
          : 'is not text'
  if (problem) {
    throw new KeeperError('needs_sign_in', `The stored token cannot be used: ${REFRESH_TOKEN} ${problem}.`, {
      hint: 'Sign in again, or put the right file in its place; it is left as it is until then.',
    })
  }
  return { raw, token, fingerprint: fingerprintOf(token) }
}

/**
 * Reads the record.
 * @returns undefined when there is none; an empty one in place of one that cannot be read, as losing it costs one refresh only
 * @throws StorageError
 */
export async function readRecord(store: TokenStore): Promise<TokenRecord | undefined> {
  const raw = await store.read(TOKEN_SET)
  if (raw === null) return undefined
  const parsed = v.safeParse(Record, parseJson(raw))
  return parsed.success ? parsed.output : { version: 1 }
}

export async function writeRecord(store: TokenStore, record: TokenRecord): Promise<void> {
  await store.write(TOKEN_SET, `${JSON.stringify(record, null, 2)}\n`)
}

export function recordOf(set: TokenSet): TokenRecord {
  return {
    version: 1,
    fingerprint: set.fingerprint,
    family: set.family,
    rotation: set.rotation,
    client_id: set.clientId,
    access_token: set.accessToken,
    issued_at: new Date(set.issuedAt).toISOString(),
    expires_at: new Date(set.expiresAt).toISOString(),
    scope: set.scope,
    subject: set.subject,
  }
}

/** What is known about a token; where its record is about another, that is nothing. An intent in it is left out. */
export function recordFor({ fingerprint }: StoredToken, record: TokenRecord | undefined): TokenRecord {
  if (record?.fingerprint === fingerprint) return { ...record, intent: undefined, family: record.family ?? fingerprint }
  // After an intent the last rotation got no further than its first write; else the token was put there by hand.
  const isNext = record?.intent !== undefined && record.family !== undefined
  if (!isNext) return { version: 1, fingerprint, family: fingerprint, rotation: 0 }
  // Its count is not guessed: the record may be an old one that came late.
  return { version: 1, fingerprint, family: record.family }
}

/** Something about a token as this client shows it to this server. */
export function aboutToken(
  fingerprint: string,
  { clientId, authUrl }: Pick<Config, 'clientId' | 'authUrl'>,
  clock: Clock,
): NonNullable<TokenRecord['intent']> {
  return { fingerprint, client_id: clientId ?? '', server: authUrl, at: new Date(clock.wall()).toISOString() }
}

export function isAbout(
  what: TokenRecord['intent'],
  fingerprint: string,
  { clientId, authUrl }: Pick<Config, 'clientId' | 'authUrl'>,
): boolean {
  return what?.fingerprint === fingerprint && what.client_id === clientId && what.server === authUrl
}

/** The TokenSet that token and record make together; undefined when they do not belong together or the client is another. */
export function tokenSetOf(
  stored: StoredToken,
  record: TokenRecord | undefined,
  clientId: string | undefined,
  clock: Clock,
): TokenSet | undefined {
  if (!record?.access_token || !record.issued_at || !record.expires_at) return undefined
  if (record.fingerprint !== stored.fingerprint || record.client_id !== clientId || !clientId) return undefined
  const expiresAt = Date.parse(record.expires_at)
  return {
    accessToken: record.access_token,
    refreshToken: stored.token,
    fingerprint: stored.fingerprint,
    family: record.family ?? stored.fingerprint,
    rotation: record.rotation,
    issuedAt: Date.parse(record.issued_at),
    expiresAt,
    scope: record.scope,
    subject: record.subject,
    clientId,
    anchor: { monotonic: clock.monotonic(), left: expiresAt - clock.wall() },
  }
}
