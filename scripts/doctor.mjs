// @ts-check
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

// Asks the running service what its doctor says, and prints it: a line a check. Needs nothing but Node, as it also runs in a container
// that has the built output only. Exit code 0: all is well; 1: something is not, or nobody could be asked.

/** @typedef {{ name: string, ok: boolean, message: string, hint?: string }} Check */

if (existsSync('.env')) process.loadEnvFile('.env') // what is set already stays
const { env } = process
const url = (env.KEEPER_URL || `http://localhost:${env.PORT || 8080}`).replace(/\/+$/, '')
const inColour = env.NO_COLOR ? false : Boolean(env.FORCE_COLOR || process.stdout.isTTY)

/** Milliseconds; the service itself takes about 5 s at most. */
const TIME_LIMIT = 10_000

process.exitCode = await examine()

/** @returns {Promise<0 | 1>} */
async function examine() {
  const key = env.KEEPER_KEY || keptKey()
  /** @type {Response} */
  let answer
  try {
    answer = await fetch(`${url}/api/doctor`, {
      headers: key ? { authorization: `Bearer ${key}` } : {},
      redirect: 'manual',
      signal: AbortSignal.timeout(TIME_LIMIT),
    })
  } catch {
    return fail(
      `No service answers at ${url}.`,
      'Start it with `npm run dev`, or `npm run build` and `npm start`; if it runs elsewhere, set KEEPER_URL to its address.',
    )
  }
  const body = await answer.json().catch(() => undefined)
  if (answer.status === 401) {
    return fail(
      key ? 'The service has another key.' : 'The service asks for its key.',
      'Set KEEPER_KEY to its key: the one that it was started with, or the one in the link that it printed.',
    )
  }
  if (answer.headers.has('keeper-error') && body) return fail(`${body.message}`, body.hint)
  if (!Array.isArray(body?.checks)) {
    return fail(
      `What answers at ${url} is no Yoto Token Keeper with a doctor.`,
      'Set KEEPER_URL, or PORT, to where it is.',
    )
  }

  /** @type {Check[]} */
  const checks = body.checks
  for (const { name, ok, message, hint } of checks) say(ok, `${String(name).padEnd(11)} ${message}`, hint)
  const bad = checks.filter(({ ok }) => !ok).length
  print(bad === 0 ? 'All is well.' : `${bad} of ${checks.length} checks found something to mend.`)
  return bad === 0 ? 0 : 1
}

/** The key that the service has made and kept beside its files; it is told by server/config.ts where those are. */
function keptKey() {
  const onRailway = env.RAILWAY_ENVIRONMENT_NAME && (env.RAILWAY_VOLUME_MOUNT_PATH || '/data')
  try {
    return JSON.parse(readFileSync(join(env.DATA_DIR || onRailway || '.', '.yoto_keeper_key'), 'utf8')).key
  } catch {
    return undefined // none, not ours to read, or encrypted
  }
}

/**
 * @param {string} message
 * @param {string} [hint]
 * @returns {1}
 */
function fail(message, hint) {
  say(false, message, hint)
  return 1
}

/**
 * @param {boolean} ok
 * @param {string} text
 * @param {string} [hint]
 */
function say(ok, text, hint) {
  print(`${ok ? coloured(32, 'ok  ') : coloured(31, 'FAIL')}  ${plain(text)}`)
  if (hint) print(`      ${coloured(33, '->')} ${plain(hint)}`)
}

/**
 * Words of others, Yoto's among them, must not steer the terminal.
 * @param {string} text
 */
function plain(text) {
  return String(text).replace(/\p{Cc}/gu, ' ')
}

/**
 * @param {number} code
 * @param {string} text
 */
function coloured(code, text) {
  return inColour ? `\x1b[${code}m${text}\x1b[0m` : text
}

/** @param {string} line */
function print(line) {
  console.log(line)
}
