import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * A scriptable stand-in for Yoto that answers with Auth0's statuses (403 and 429 where RFC 8628 has 400), breaks its
 * answers off as told, and counts. What a conforming server does is authorization-server.ts's part.
 */

export interface StandInOptions {
  port?: number
  clientId?: string
  /** Seconds an access token lives. */
  expiresIn?: number
  /** Seconds a device code lives. */
  deviceCodeTtl?: number
  /** Seconds between polls; faster ones are told to slow down. */
  interval?: number
  /** How long the token just replaced is still accepted: Auth0's "Rotation Overlap Period". */
  leewayMs?: number
  /** Auth0's tenant setting "Refresh Token Revocation Deletes Grant": revoking one family ends all. */
  revocationDeletesGrant?: boolean
}

type Headers = Record<string, string>
type Json = Record<string, unknown>

/** `before` the request is processed, so that nothing rotates, or `after`, when the rotation has happened. */
export type Fault =
  /** Before: never answers. */
  | { kind: 'timeout' }
  /** Before: waits, then goes on as usual. */
  | { kind: 'delay'; ms: number }
  | { kind: 'reset-before' }
  | { kind: 'reset-after' }
  /** Before. */
  | { kind: 'status'; status: number; headers?: Headers; body?: string | Json }
  | { kind: 'status-after'; status: number; headers?: Headers; body?: string | Json }
  /** Before: an error page with status 200. */
  | { kind: 'html-200' }
  /** After: the first half of the body, which ends as if it were whole. */
  | { kind: 'cut-json' }
  /** After: another body than the right one. */
  | { kind: 'replace-json'; map: (body: Json) => unknown }
  /** After: one byte a second. */
  | { kind: 'slow-drip' }
  /** Before: 302. */
  | { kind: 'redirect'; location: string }
  /** Before: 10 MB that look like JSON. */
  | { kind: 'huge' }

/** Which requests are meant: by default any grant at the token endpoint. */
export interface Match {
  path?: string
  grant_type?: string
}

export interface Hold {
  /** The next matching request has been processed, and its answer waits. */
  reached: Promise<void>
  release(): void
}

export interface SeededTokens {
  refresh_token: string
  access_token: string
  expires_in: number
}

export interface StandIn {
  url: string
  clientId: string
  counts: {
    device: number
    polls: number
    refresh_ok: number
    /** Every refresh answered with an error, reuse among them. */
    refresh_refused: number
    /** A replaced token came back too late and ended its family. */
    refresh_reused: number
    revoked: number
  }
  /** When polls came, in milliseconds of `performance.now()`. */
  pollTimes: number[]
  /** Issues a token family without a sign-in. */
  seed(): SeededTokens
  /** Issues an authorization code, as after a sign-in in the browser; it is good once. */
  authorize(): string
  approve(userCode: string): void
  deny(userCode: string): void
  expire(userCode: string): void
  /** Faults are used up in the order in which they were injected. */
  inject(fault: Fault, match?: Match & { times?: number }): void
  hold(match?: Match): Hold
  isRevoked(refreshToken: string): boolean
  /** The newest refresh token of the family that the given one belongs to, by default of the family begun last. */
  currentRefreshToken(refreshToken?: string): string
  /** Refuses connections until `resume`, which listens on the same port again. */
  pause(): Promise<void>
  resume(): Promise<void>
  stop(): Promise<void>
}

interface Family {
  revoked: boolean
  generation: number
  current: string
  /** When the generation before the current one was first replaced. */
  replacedAt: number
}

interface Device {
  deviceCode: string
  state: 'pending' | 'approved' | 'denied' | 'expired'
  expiresAt: number
  polledAt: number
}

interface Answer {
  status: number
  headers?: Headers
  body: string
}

const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
const PATHS = { device: '/oauth/device/code', token: '/oauth/token', revoke: '/oauth/revoke', whoami: '/v1/whoami' }

const json = (status: number, body: unknown, headers?: Headers): Answer => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
})
const refusal = (status: number, error: string, error_description: string) => json(status, { error, error_description })
const scripted = ({
  status,
  headers,
  body = '',
}: {
  status: number
  headers?: Headers
  body?: string | Json
}): Answer => (typeof body === 'string' ? { status, headers, body } : json(status, body, headers))
const half = (text: string) => text.slice(0, text.length / 2)
const opaque = (kind: string) => `${kind}-${randomBytes(24).toString('base64url')}`

export async function startStandIn(options: StandInOptions = {}): Promise<StandIn> {
  const { clientId = 'test-client', expiresIn = 86_400, deviceCodeTtl = 300, interval = 5, leewayMs = 0 } = options
  const counts = { device: 0, polls: 0, refresh_ok: 0, refresh_refused: 0, refresh_reused: 0, revoked: 0 }
  const pollTimes: number[] = []
  const devices = new Map<string, Device>()
  const refreshTokens = new Map<string, { family: Family; generation: number }>()
  const accessTokens = new Map<string, number>()
  const codes = new Set<string>()
  const families: Family[] = []
  const faults: { fault: Fault; match: Match; left: number }[] = []
  const holds: { match: Match; reached: () => void; released: Promise<void> }[] = []
  const stopping = new AbortController()

  /** The body of a token answer: a new access token, and the refresh token that is now the family's newest. */
  function issue(family: Family) {
    const refresh_token = opaque('rt')
    const access_token = opaque('at')
    family.current = refresh_token
    refreshTokens.set(refresh_token, { family, generation: family.generation })
    accessTokens.set(access_token, Date.now() + expiresIn * 1000)
    return { access_token, refresh_token, scope: 'offline_access', expires_in: expiresIn, token_type: 'Bearer' }
  }

  function begin() {
    const family: Family = { revoked: false, generation: 0, current: '', replacedAt: 0 }
    families.push(family)
    return issue(family)
  }

  function refresh(refreshToken = ''): Answer {
    const refused = (why: string) => {
      counts.refresh_refused += 1
      return refusal(403, 'invalid_grant', why)
    }
    const known = refreshTokens.get(refreshToken)
    if (!known || known.family.revoked) return refused('Unknown or invalid refresh token.')
    const { family, generation } = known
    const justReplaced = generation === family.generation - 1 && Date.now() - family.replacedAt < leewayMs
    if (generation !== family.generation && !justReplaced) {
      family.revoked = true
      counts.refresh_reused += 1
      return refused('Unknown or invalid refresh token.')
    }
    if (!justReplaced) {
      family.generation += 1
      family.replacedAt = Date.now()
    }
    counts.refresh_ok += 1
    return json(200, issue(family))
  }

  function poll(deviceCode = ''): Answer {
    counts.polls += 1
    pollTimes.push(performance.now())
    const found = [...devices].find(([, device]) => device.deviceCode === deviceCode)
    if (!found) return refusal(403, 'invalid_grant', 'Invalid or expired device code.')
    const [userCode, device] = found
    // A client's timer and ours differ by a few milliseconds.
    const tooFast = performance.now() - device.polledAt < interval * 1000 - 50
    device.polledAt = performance.now()
    if (device.state === 'expired' || Date.now() > device.expiresAt) {
      return refusal(403, 'expired_token', 'The device code has expired.')
    }
    if (tooFast) return refusal(429, 'slow_down', 'You are polling faster than the specified interval.')
    if (device.state === 'pending')
      return refusal(403, 'authorization_pending', 'User has yet to authorize device code.')
    if (device.state === 'denied') return refusal(403, 'access_denied', 'User cancelled the confirmation prompt.')
    devices.delete(userCode)
    return json(200, begin())
  }

  function startDevice(): Answer {
    counts.device += 1
    const letters = [...randomBytes(8)].map((byte) => 'BCDFGHJKLMNPQRST'[byte % 16]).join('')
    const user_code = `${letters.slice(0, 4)}-${letters.slice(4)}`
    const device_code = opaque('dc')
    const expiresAt = Date.now() + deviceCodeTtl * 1000
    devices.set(user_code, { deviceCode: device_code, state: 'pending', expiresAt, polledAt: Number.NEGATIVE_INFINITY })
    const verification_uri = `${url}/activate`
    const verification_uri_complete = `${verification_uri}?user_code=${user_code}`
    const expires_in = deviceCodeTtl
    return json(200, { device_code, user_code, verification_uri, verification_uri_complete, expires_in, interval })
  }

  /** RFC 7009, section 2.2: unknown tokens get the same answer. */
  function revoke(token = ''): Answer {
    const family = refreshTokens.get(token)?.family
    if (family) {
      counts.revoked += 1
      for (const ended of options.revocationDeletesGrant ? families : [family]) ended.revoked = true
    }
    return { status: 200, body: '' }
  }

  function whoami(authorization = ''): Answer {
    const expiresAt = accessTokens.get(authorization.replace(/^Bearer /i, '')) ?? 0
    return Date.now() < expiresAt ? json(200, { sub: 'test-account' }) : refusal(401, 'invalid_token', 'Not accepted.')
  }

  function answerTo(request: IncomingMessage, path: string, form: Record<string, string>): Answer {
    if (path === PATHS.whoami) return whoami(request.headers.authorization)
    if (request.method !== 'POST') return refusal(404, 'not_found', 'Not found.')
    if (form.client_id !== clientId) return refusal(401, 'invalid_client', 'Unknown client.')
    if (path === PATHS.device) return startDevice()
    if (path === PATHS.revoke) return revoke(form.token)
    if (path !== PATHS.token) return refusal(404, 'not_found', 'Not found.')
    if (form.grant_type === 'refresh_token') return refresh(form.refresh_token)
    if (form.grant_type === DEVICE_GRANT) return poll(form.device_code)
    if (form.grant_type === 'authorization_code') {
      if (form.code_verifier && form.redirect_uri && codes.delete(form.code ?? '')) return json(200, begin())
      return refusal(403, 'invalid_grant', 'Invalid authorization code')
    }
    return refusal(403, 'unsupported_grant_type', 'Unsupported grant type.')
  }

  async function handle(request: IncomingMessage, response: ServerResponse) {
    const path = new URL(request.url ?? '', url).pathname
    const form = Object.fromEntries(new URLSearchParams(await readText(request)))
    const isMeant = ({ match }: { match: Match }) =>
      path === (match.path ?? PATHS.token) && (!match.grant_type || match.grant_type === form.grant_type)

    const injected = faults.find((entry) => entry.left > 0 && isMeant(entry))
    if (injected) injected.left -= 1
    const fault = injected?.fault

    if (fault?.kind === 'timeout') return
    if (fault?.kind === 'reset-before') return request.socket.destroy()
    if (fault?.kind === 'status') return send(response, scripted(fault))
    if (fault?.kind === 'html-200') return send(response, ERROR_PAGE)
    if (fault?.kind === 'redirect') return send(response, { ...REDIRECT, headers: { location: fault.location } })
    if (fault?.kind === 'huge') return send(response, json(200, { access_token: 'x'.repeat(10_000_000) }))
    if (fault?.kind === 'delay') await sleep(fault.ms, undefined, { signal: stopping.signal })

    const answer = answerTo(request, path, form)

    const held = holds.findIndex(isMeant)
    if (held >= 0) {
      const [hold] = holds.splice(held, 1)
      hold?.reached()
      await hold?.released
    }

    if (fault?.kind === 'reset-after') return request.socket.destroy()
    if (fault?.kind === 'status-after') return send(response, scripted(fault))
    if (fault?.kind === 'cut-json') return send(response, { ...answer, body: half(answer.body) })
    if (fault?.kind === 'replace-json') return send(response, json(answer.status, fault.map(JSON.parse(answer.body))))
    if (fault?.kind === 'slow-drip') return drip(response, answer, stopping.signal)
    send(response, answer)
  }

  // A handler is interrupted by the client's going away or by `stop`, and by nothing else; neither is an error here.
  const server = createServer((request, response) => {
    handle(request, response).catch((error) => {
      if (!stopping.signal.aborted && !response.destroyed) throw error
    })
  })
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  const close = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  await listen(options.port ?? 0)
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`

  const deviceOf = (userCode: string) => devices.get(userCode) ?? unknown('user code')
  const familyOf = (refreshToken: string) => refreshTokens.get(refreshToken)?.family ?? unknown('refresh token')

  return {
    url,
    clientId,
    counts,
    pollTimes,
    seed: () => {
      const { refresh_token, access_token, expires_in } = begin()
      return { refresh_token, access_token, expires_in }
    },
    authorize: () => {
      const code = opaque('ac')
      codes.add(code)
      return code
    },
    approve: (userCode) => {
      deviceOf(userCode).state = 'approved'
    },
    deny: (userCode) => {
      deviceOf(userCode).state = 'denied'
    },
    expire: (userCode) => {
      deviceOf(userCode).state = 'expired'
    },
    inject: (fault, { times = 1, ...match } = {}) => {
      faults.push({ fault, match, left: times })
    },
    hold: (match = {}) => {
      const reached = signal()
      const released = signal()
      holds.push({ match, reached: reached.give, released: released.given })
      return { reached: reached.given, release: released.give }
    },
    isRevoked: (refreshToken) => familyOf(refreshToken).revoked,
    currentRefreshToken: (refreshToken) =>
      (refreshToken === undefined ? families.at(-1) : familyOf(refreshToken))?.current ?? unknown('family'),
    pause: close,
    resume: () => listen(port),
    stop: async () => {
      stopping.abort()
      await close()
    },
  }
}

const REDIRECT = { status: 302, body: '' }
const ERROR_PAGE = { status: 200, headers: { 'content-type': 'text/html' }, body: '<!DOCTYPE html><h1>Back soon</h1>' }

function send(response: ServerResponse, { status, headers, body }: Answer) {
  response.writeHead(status, headers).end(body)
}

async function drip(response: ServerResponse, { status, headers, body }: Answer, signal: AbortSignal) {
  response.writeHead(status, { ...headers, 'content-length': String(Buffer.byteLength(body)) })
  for (const byte of Buffer.from(body)) {
    if (response.destroyed) return
    response.write(Buffer.of(byte))
    await sleep(1000, undefined, { signal })
  }
  response.end()
}

async function readText(request: IncomingMessage) {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

function signal() {
  let give = () => {}
  const given = new Promise<void>((resolve) => {
    give = resolve
  })
  return { given, give }
}

function unknown(what: string): never {
  throw new Error(`the stand-in knows no such ${what}`)
}
