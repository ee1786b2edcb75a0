import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { heartbeatFile } from '../../storage/leases/heartbeat-file'
import { type Keeper, startKeeper } from '../support/keeper-process'

/** The service's folder as the crash tests see it from outside: what lies in it, and time passing over it. */

export const TOKEN = '.yoto_refresh_token'
export const RECORD = '.yoto_token_set.json'

const HOUR = 3_600_000

const period = (from: number, to: number) => () => {
  const now = Date.now()
  return { issued_at: new Date(now + from).toISOString(), expires_at: new Date(now + to).toISOString() }
}

export const ages = {
  /** Valid for 23 hours more; no refresh is due, and one may be asked for. */
  anHour: period(-HOUR, 23 * HOUR),
  /** Ran out a minute ago. */
  expired: period(-24 * HOUR, -60_000),
}

export interface Login {
  refresh_token: string
  access_token: string
}

interface StoredRecord {
  fingerprint?: string
  access_token?: string
  issued_at?: string
  expires_at?: string
  intent?: { fingerprint: string }
  refusals?: { fingerprint: string }[]
}

/** What lies in the folder. */
export interface Contents {
  raw: string
  token: string
  tokenMode: number
  record: StoredRecord
  recordMode: number
  /** When the record was, in milliseconds since 1970. */
  writtenAt: number
  /** Token and record belong together, and no outcome is open. */
  settled: boolean
  temporary: string[]
}

export const fingerprintOf = (token: string) => createHash('sha256').update(token).digest('hex')

export function temporaryFolder(): { dir: string; remove(): void } {
  const dir = mkdtempSync(join(tmpdir(), 'keeper-crash-'))
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

export async function contentsOf(dir: string): Promise<Contents> {
  const [raw, recordText] = await Promise.all([TOKEN, RECORD].map((name) => readFile(join(dir, name), 'utf8')))
  const [tokenStat, recordStat] = await Promise.all([TOKEN, RECORD].map((name) => stat(join(dir, name))))
  const token = (raw ?? '').trim()
  const record = parse(recordText ?? '')
  const fingerprint = fingerprintOf(token)
  const isRefused = record.refusals?.some((refusal) => refusal.fingerprint === fingerprint)
  return {
    raw: raw ?? '',
    token,
    tokenMode: (tokenStat?.mode ?? 0) & 0o7777,
    record,
    recordMode: (recordStat?.mode ?? 0) & 0o7777,
    writtenAt: recordStat?.mtimeMs ?? 0,
    settled: record.fingerprint === fingerprint && !record.intent && !isRefused,
    temporary: (await readdir(dir)).filter((name) => name.endsWith('.tmp')),
  }
}

function parse(text: string): StoredRecord {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`the record is torn: ${text.length} bytes`, { cause: error })
  }
}

/** Stores a login as a service would have done that long ago; a running service takes it up as one put there from outside (rule 10). */
export async function storeLogin(dir: string, clientId: string, login: Login, times = ages.anHour): Promise<void> {
  const fingerprint = fingerprintOf(login.refresh_token)
  const record = {
    version: 1,
    fingerprint,
    family: fingerprint,
    client_id: clientId,
    access_token: login.access_token,
    ...times(),
  }
  await replace(dir, RECORD, `${JSON.stringify(record)}\n`)
  await replace(dir, TOKEN, login.refresh_token)
}

let agings = 0

/**
 * Lets time pass for a login that is stored already, without waiting for it. A running service reads the record again when the token
 * file's bytes have changed (white space around the token means nothing), and takes up an access token that it does not know.
 * @returns that access token
 */
export async function age(dir: string, times = ages.anHour): Promise<string> {
  const { raw, token, record } = await contentsOf(dir)
  const access_token = `aged-${process.pid}-${++agings}`
  await replace(dir, RECORD, `${JSON.stringify({ ...record, access_token, ...times() })}\n`)
  await replace(dir, TOKEN, raw === token ? `${token}\n` : token)
  return access_token
}

/** As another instance would hold it. */
export const tokenLease = (dir: string) => heartbeatFile(dir, '.yoto_token_lease')

async function replace(dir: string, name: string, text: string): Promise<void> {
  const temporary = join(dir, `${name}.by-the-test`)
  await writeFile(temporary, text, { mode: 0o600 })
  await rename(temporary, join(dir, name))
}

/** The service on that folder. Few start at a time: each wants a processor to itself for half a second, and is waited for. */
export async function startService(
  dir: string,
  yoto: { url: string; clientId: string },
  more: Record<string, string> = {},
): Promise<Keeper> {
  while (starting.size >= AT_A_TIME) await Promise.race(starting)
  const env = { ...more, DATA_DIR: dir, YOTO_CLIENT_ID: yoto.clientId, YOTO_AUTH_URL: yoto.url }
  const start = startKeeper({ cwd: dir, env })
  const settled = start
    .catch(() => {})
    .then(() => {
      starting.delete(settled)
    })
  starting.add(settled)
  return start
}

const AT_A_TIME = 3
const starting = new Set<Promise<void>>()
