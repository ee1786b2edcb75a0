// @ts-check
/** How the page asks the service. */

import { texts } from './parts.js'

/** An answer that is an error: the service's own (`status` > 0), or none at all (`status` 0). */
export class Failure extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {string} [hint] */
  constructor(status, code, message, hint) {
    super(message)
    this.status = status
    this.code = code
    this.hint = hint
  }
}

/** How far this device's clock is from the service's, in milliseconds. */
let clockOffset = 0
/** By the service's clock. */
export const now = () => Date.now() + clockOffset

/**
 * @template T
 * @param {'GET' | 'POST'} method
 * @param {string} path
 * @param {object} [body]
 * @param {number} [patience] milliseconds
 * @returns {Promise<T>}
 */
export async function ask(method, path, body, patience = method === 'GET' ? 15_000 : 45_000) {
  /** @type {Response} */ let response
  /** @type {unknown} */ let answer
  try {
    response = await fetch(path, {
      method,
      headers: method === 'POST' ? { 'content-type': 'application/json' } : {},
      body: method === 'POST' ? JSON.stringify(body ?? {}) : undefined,
      cache: 'no-store',
      redirect: 'error',
      signal: AbortSignal.timeout(patience),
    })
    answer = await response.json()
  } catch {
    throw new Failure(0, 'unreachable', texts.unreachable)
  }
  const date = Date.parse(response.headers.get('date') ?? '')
  if (date) clockOffset = Math.abs(date - Date.now()) > 5000 ? date - Date.now() : 0
  const { error, message, hint } = /** @type {Record<string, unknown>} */ (answer ?? {})
  if (response.ok) return /** @type {T} */ (answer)
  // An error in another shape is a proxy's: the service behind it is away.
  if (typeof error !== 'string' || typeof message !== 'string') {
    throw new Failure(0, 'unreachable', texts.unreachable)
  }
  throw new Failure(response.status, error, message, typeof hint === 'string' ? hint : undefined)
}
