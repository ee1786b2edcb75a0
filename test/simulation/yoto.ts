import { hash } from 'node:crypto'
import type { Answer } from '../../server/yoto/request'
import type { Judge } from './judge'
import type { SimulatedProcess } from './process'
import type { Random } from './random'
import type { Scheduler } from './scheduler'

/** A sign-in and what has come of it: one refresh token after the other. */
export interface Family {
  name: string
  user: string
  tokens: RefreshToken[]
  /** Why no token of it is accepted any more. */
  endedBy?: string
}

export interface RefreshToken {
  value: string
  fingerprint: string
  family: Family
  issuedAt: number
  /** Who has heard that it is not accepted, and when. */
  refusedTo: Map<SimulatedProcess, number>
  /** What it was replaced by, and in answer to whom. */
  replaced?: { at: number; by: Refresh; next: RefreshToken }
}

/** One refresh on its way. */
export interface Refresh {
  sender: SimulatedProcess
  sentAt: number
  /** How old what the sender knew was when it sent. */
  knewAsOf: number
  /** The answer has come and could be read, or the sender has given up on it. */
  heard?: 'answer' | 'nothing'
}

/** How a request goes wrong: before Yoto has dealt with it, or after. */
export const YOTO_FAULTS = [
  'not sent',
  'lost before',
  'lost after',
  'late',
  '500 before',
  '500 after',
  '429',
  '503 with Retry-After',
  'unreadable',
  'redirect',
  'invalid_client',
  'no refresh token',
] as const
export type YotoFault = (typeof YOTO_FAULTS)[number]

export interface YotoOptions {
  /** Milliseconds that an access token lives. */
  lifetime: number
  /** Milliseconds for which the token just replaced is still accepted. */
  leeway: number
  /** Revoking one family ends all of the same user (Auth0 tenants of before 2021). */
  revocationDeletesGrant: boolean
}

/** Milliseconds after which a caller gives up (server/yoto/request.ts). */
const TIME_LIMIT = 5_000

/** Yoto's authorization server: rotation, reuse detection with its leeway, revocation. */
export class SimulatedYoto {
  readonly families: Family[] = []
  /** Milliseconds that a request or an answer is on its way. */
  way: () => number = () => this.random.between(20, 200)
  private readonly refreshTokens = new Map<string, RefreshToken>()
  private readonly accessTokens = new Map<string, AccessToken>()
  /** What goes wrong with the next request, if anything. */
  nextFault: () => YotoFault | undefined = () => undefined
  /** What lies in the store. */
  storedToken: () => string | undefined = () => undefined
  sends = 0

  constructor(
    readonly options: YotoOptions,
    private readonly scheduler: Scheduler,
    private readonly random: Random,
    private readonly judge: Pick<Judge, 'onSend' | 'onReuse' | 'onRevoked'>,
    private readonly trace: (who: string, what: string) => void,
  ) {}

  /** A sign-in by `user`. */
  issue(user: string): { family: Family; body: TokenBody } {
    const family: Family = { name: `f${this.families.length + 1}`, user, tokens: [] }
    this.families.push(family)
    return { family, body: this.answerFor(this.add(family)) }
  }

  find(refreshToken: string): RefreshToken | undefined {
    return this.refreshTokens.get(refreshToken)
  }

  /** What an access token is good for. */
  access(accessToken: string): AccessToken | undefined {
    return this.accessTokens.get(accessToken)
  }

  /** The access token that came last with that refresh token. */
  accessWith(refreshToken: string): string | undefined {
    return [...this.accessTokens].findLast(([, { of }]) => of.value === refreshToken)?.[0]
  }

  /** POST /oauth/token, as the process sees it. */
  refresh(sender: SimulatedProcess, value: string): Promise<Answer> {
    this.sends++
    const token = this.refreshTokens.get(value)
    const refresh: Refresh = { sender, sentAt: this.scheduler.now, knewAsOf: sender.knowsAsOf }
    const fault = this.nextFault()
    if (token) this.judge.onSend(token, refresh, fault)
    this.trace(sender.name, `yoto refresh ${value}${fault ? ` (${fault})` : ''}`)
    return this.exchange(sender, fault, refresh, () => {
      if (!token) return REFUSAL
      if (fault === 'invalid_client') return json(401, { error: 'invalid_client' })
      return this.rotate(token, refresh, fault === 'no refresh token')
    }).then((answer) => {
      if (answer === REFUSAL) token?.refusedTo.set(sender, this.scheduler.now)
      return answer
    })
  }

  /** POST /oauth/revoke, as the process sees it. */
  async revoke(sender: SimulatedProcess, value: string): Promise<boolean> {
    const fault = this.nextFault()
    const stored = this.refreshTokens.get(this.storedToken() ?? '')?.family
    const sentAt = this.scheduler.now
    this.trace(sender.name, `yoto revoke ${value}${fault ? ` (${fault})` : ''}`)
    const answer = await this.exchange(sender, fault, undefined, () => {
      const family = this.refreshTokens.get(value)?.family
      if (family) this.end(family, sender, { stored, sentAt })
      return json(200, {})
    })
    return answer.kind === 'answer' && answer.status === 200
  }

  private exchange(
    sender: SimulatedProcess,
    fault: YotoFault | undefined,
    refresh: Refresh | undefined,
    effect: () => Answer,
  ): Promise<Answer> {
    const { scheduler, random } = this
    return new Promise((resolve) => {
      let isOpen = true
      const answer = (what: Answer, heard: Refresh['heard']) =>
        sender.deliver(() => {
          if (!isOpen) return
          isOpen = false
          if (refresh) refresh.heard = heard
          resolve(what)
        })
      const after = (delay: number, what: () => Answer, heard: Refresh['heard'] = 'nothing') =>
        scheduler.after(delay, () => answer(what(), heard))
      const way = this.way()
      after(TIME_LIMIT, () => ({ kind: 'lost', reason: 'no answer within 5 seconds', timeout: true }))
      switch (fault) {
        case 'not sent':
          return after(1, () => ({ kind: 'not_sent', reason: 'ECONNREFUSED' }))
        case 'lost before':
          return random.chance(0.5) ? undefined : after(way, () => lost)
        case '500 before':
          return after(way, () => ({ kind: 'answer', status: 502, text: '<html>' }))
        case '429':
          return after(way, () => ({ ...json(429, { error: 'too_many_requests' }), retryAfter: '20' }))
        case '503 with Retry-After':
          return after(way, () => ({ kind: 'answer', status: 503, retryAfter: '5', text: '' }))
        case 'redirect':
          return after(way, () => ({ kind: 'answer', status: 302, text: '' }))
      }
      const arrival = fault === 'late' ? random.between(4_000, 9_000) : way
      scheduler.after(arrival, () => {
        const what = effect()
        const back = this.way()
        if (fault === 'lost after') {
          if (random.chance(0.5)) after(back, () => lost)
        } else if (fault === '500 after') after(back, () => ({ kind: 'answer', status: 500, text: 'oops' }))
        else if (fault === 'unreadable') after(back, () => ({ kind: 'answer', status: 200, text: '{"access_tok' }))
        else after(back, () => what, 'answer')
      })
    })
  }

  private rotate(token: RefreshToken, refresh: Refresh, keepsToken: boolean): Answer {
    const { family } = token
    if (family.endedBy) return REFUSAL
    const { replaced } = token
    if (replaced) {
      const isLast = !replaced.next.replaced
      if (!isLast || this.scheduler.now - replaced.at > this.options.leeway) {
        family.endedBy = this.judge.onReuse(token, refresh, this.options.leeway)
        this.trace('yoto', `reuse of ${token.value}: ${family.name} ends (${family.endedBy})`)
        return REFUSAL
      }
    }
    if (keepsToken) return json(200, { ...this.answerFor(token, refresh.sender), refresh_token: undefined })
    const next = this.add(family)
    token.replaced = { at: this.scheduler.now, by: refresh, next }
    this.trace('yoto', `${token.value} becomes ${next.value}`)
    return json(200, this.answerFor(next, refresh.sender))
  }

  private end(family: Family, by: SimulatedProcess, when: { stored?: Family; sentAt: number }): void {
    const ended = this.options.revocationDeletesGrant
      ? this.families.filter(({ user, endedBy }) => user === family.user && !endedBy)
      : [family]
    for (const one of ended) {
      if (one.endedBy) continue
      one.endedBy = this.judge.onRevoked(one, family, by, when)
      this.trace('yoto', `${one.name} ends (${one.endedBy})`)
    }
  }

  private add(family: Family): RefreshToken {
    const value = `r${family.name.slice(1)}.${family.tokens.length + 1}`
    const fingerprint = hash('sha256', value)
    const token = { value, fingerprint, family, issuedAt: this.scheduler.now, refusedTo: new Map() }
    family.tokens.push(token)
    this.refreshTokens.set(token.value, token)
    return token
  }

  private answerFor(token: RefreshToken, to?: SimulatedProcess): TokenBody {
    const { value, family } = token
    const { lifetime } = this.options
    const access_token = `${this.accessTokens.size + 1}.${btoa(JSON.stringify({ sub: family.user }))}.${value}`
    this.accessTokens.set(access_token, {
      of: token,
      to,
      family,
      issuedAt: this.scheduler.now,
      expiresAt: this.scheduler.now + lifetime,
    })
    return { access_token, refresh_token: value, expires_in: lifetime / 1000, token_type: 'Bearer' }
  }
}

/** What an access token is good for, and the refresh token that came with it. */
export interface AccessToken {
  of: RefreshToken
  /** Who has asked for it by a refresh. */
  to?: SimulatedProcess
  issuedAt: number
  family: Family
  expiresAt: number
}

export interface TokenBody {
  access_token: string
  refresh_token: string
  expires_in: number
  token_type: string
}

const lost: Answer = { kind: 'lost', reason: 'ECONNRESET', timeout: false }

function json(status: number, body: unknown): Answer & { kind: 'answer' } {
  return { kind: 'answer', status, text: JSON.stringify(body) }
}

const REFUSAL = json(403, { error: 'invalid_grant', error_description: 'Unknown or invalid refresh token.' })
