import { hash } from 'node:crypto'
import type { TokenRecord } from '../../server/keeper/records'
import type { Code, Surroundings } from './code'
import { plainGround } from './ground'
import type { PlainStore } from './plain-store'
import { EPOCH, type SimulatedProcess } from './process'
import type { Random } from './random'
import { type Instance, type State, World } from './world'
import { YOTO_FAULTS, type YotoFault } from './yoto'

// A story is a text: prose, and commands (`> …`), each followed by what it led to, up to an empty line. There is no chance in it: a part of
// an operation takes 1 ms, the way to Yoto 100 ms, and a keeper ticks every second.
//
//   yoto 1h leeway 10s            how long access tokens live, and a replaced refresh token is still accepted; before everything else
//   signed in                     somebody has signed in before the story begins
//   start a | crash a | end a     end: SIGTERM
//   stop a | go on a              its machine stands still, and goes on
//   token at a | refresh at a | sign in at a [as ben] | sign out at a
//   renew at a [for r1.1]         Yoto's API has refused the current access token, or the one that came with r1.1
//   next answer lost after        what becomes of the next request to Yoto, by YOTO_FAULTS; several: with commas
//   store away | back | full | has room | emptied
//   writes fail though they arrive | writes succeed
//   put another by hand | put r1.1 by hand | remove by hand
//   clock of a 1h back | clock of a 1h ahead
//   when a sends: crash a         the rest, at the next line that begins so
//   run 10s                       nothing else for so long
//   store | status                what lies there; what each keeper says
//
// Several commands on one line, with ` + ` between them, begin at once. All that was asked is answered before the next line begins.

/** Milliseconds for which an answer is waited for. */
const LONGEST_WAIT = 120_000

/** @returns the story with what its commands have led to, and what must not have been */
export async function tell(
  text: string,
  code: (around: Surroundings) => Code,
): Promise<{ text: string; violations: string[] }> {
  const teller = new Teller(code)
  const told: string[] = []
  let isOldTrace = false
  for (const line of text.split('\n')) {
    if (line.startsWith('> ')) {
      told.push(line, ...(await teller.obey(line.slice(2))))
      isOldTrace = true
    } else {
      if (line.trim() === '') isOldTrace = false
      if (!isOldTrace) told.push(line)
    }
  }
  return { text: told.join('\n'), violations: teller.violations }
}

class Teller {
  private world?: World
  private store?: PlainStore
  private readonly yoto = { lifetime: 24 * 3_600_000, leeway: 0, revocationDeletesGrant: false }
  private readonly faults: YotoFault[] = []
  private lines: Line[] = []
  private readonly triggers: { line: string; command: string }[] = []
  private readonly last = new Map<string, string>()

  constructor(private readonly code: (around: Surroundings) => Code) {}

  get violations(): string[] {
    return this.world?.judge.violations ?? []
  }

  /** @returns the trace */
  async obey(line: string): Promise<string[]> {
    this.lines = []
    const when = /^when (.+): (.+)$/.exec(line)
    if (when) this.triggers.push({ line: when[1] as string, command: when[2] as string })
    else {
      for (const command of line.split(' + ')) await this.run(command.trim())
      await this.settle()
    }
    return folded(withoutProbes(this.lines)).map(
      ({ at, text }) => `  ${at === undefined ? '' : `${clock(at)} `}${text}`,
    )
  }

  private async run(command: string): Promise<void> {
    const [first = '', second] = command.split(' ')
    if (first === 'run') return this.there().runFor(duration(second))
    if (command === 'signed in') return this.signInBefore()
    this.begin(command)
  }

  /** Somebody has signed in at an instance that is no more. */
  private async signInBefore(): Promise<void> {
    const before = this.there().start('before')
    this.there().signIn(before, 'ann')
    await this.settle()
    this.there().end(before)
    await this.there().runFor(2_000)
    this.lines = []
    this.tellStore()
  }

  /** What begins at once, and may take time. */
  private begin(command: string): void {
    const entry = this.commands.find(([pattern]) => pattern.test(command))
    if (!entry) throw new Error(`no such command: ${command}`)
    const [pattern, obey] = entry
    obey(...((pattern.exec(command) ?? []).slice(1) as [string, string, string]))
  }

  private readonly commands: [RegExp, (a: string, b: string, c: string) => void][] = [
    [/^yoto (\w+) leeway (\w+)$/, (lifetime, leeway) => this.setYoto(duration(lifetime), duration(leeway))],
    [/^start (\w+)$/, (name) => void this.there().start(name)],
    [/^crash (\w+)$/, (name) => this.there().crash(this.instance(name))],
    [/^end (\w+)$/, (name) => this.there().end(this.instance(name))],
    [/^stop (\w+)$/, (name) => this.setStopped(this.instance(name).process, true)],
    [/^go on (\w+)$/, (name) => this.setStopped(this.instance(name).process, false)],
    [/^token at (\w+)$/, (name) => void this.there().askForToken(this.instance(name))],
    [/^renew at (\w+)(?: for (\S+))?$/, (name, token) => this.renew(name, token)],
    [/^refresh at (\w+)$/, (name) => void this.there().refreshNow(this.instance(name))],
    [/^sign in at (\w+)(?: as (\w+))?$/, (name, user) => this.there().signIn(this.instance(name), user ?? 'ann')],
    [/^sign out at (\w+)$/, (name) => void this.there().signOut(this.instance(name))],
    [/^next answer (.+)$/, (faults) => void this.faults.push(...faults.split(', ').map(faultOf))],
    [/^store (away|back)$/, (how) => this.there().setAway(how === 'away')],
    [/^store (full|has room)$/, (how) => this.there().setFull(how === 'full')],
    [/^store emptied$/, () => this.there().emptyStore(60_000)],
    [/^writes (fail though they arrive|succeed)$/, (how) => this.there().setLies(how === 'succeed' ? 0 : 1)],
    [/^put (.+) by hand$/, (token) => this.putByHand(token)],
    [/^remove by hand$/, () => this.there().removeByHand()],
    [/^clock of (\w+) (\w+) (back|ahead)$/, (name, by, to) => this.jump(name, (to === 'back' ? -1 : 1) * duration(by))],
    [/^store$/, () => this.tellStore()],
    [/^status$/, () => this.tellStatus()],
  ]

  private setStopped(process: SimulatedProcess, isStopped: boolean): void {
    this.there().trace(process.name, isStopped ? 'stands still' : 'goes on')
    if (isStopped) process.stop(false)
    else process.goOn()
  }

  private renew(name: string, refreshToken: string | undefined): void {
    const world = this.there()
    void world.renew(this.instance(name), refreshToken ? world.yoto.accessWith(refreshToken) : undefined)
  }

  private setYoto(lifetime: number, leeway: number): void {
    this.yoto.lifetime = lifetime
    this.yoto.leeway = leeway
  }

  private putByHand(token: string): void {
    const world = this.there()
    const family = world.yoto.find(token)?.family
    if (family) world.putByHand(token, family)
    else {
      const { family, body } = world.yoto.issue('ann')
      world.putByHand(body.refresh_token, family)
    }
  }

  private jump(name: string, by: number): void {
    this.there().clockHasJumped = true
    const { process } = this.instance(name)
    process.wallOffset += by
    this.there().trace(name, `has a clock that shows ${clock(process.wall() - EPOCH)}`)
  }

  /** Until everybody who has asked has been answered, and what follows at once has been done. */
  private async settle(): Promise<void> {
    if (!this.world) return
    const { world } = this
    const end = world.scheduler.now + LONGEST_WAIT
    const isOpen = () =>
      world.instances.some(({ calls, isClosing, process, unsaved }) => {
        const isSigningIn = world.judge.acts.some(
          (act) => act.by === process && act.state === 'open' && !unsaved.has(act),
        )
        return !process.isStopped && (calls.size > 0 || isClosing || isSigningIn)
      })
    await world.runFor(0)
    while (isOpen() && world.scheduler.now < end) await world.runFor(STEP)
  }

  private there(): World {
    if (this.world) return this.world
    const world = new World(
      {
        code: this.code,
        random: unmoved,
        yoto: this.yoto,
        areFunctions: false,
        onTrace: (who, what) => this.onTrace(who, what),
      },
      (scheduler, random) => {
        const ground = plainGround(scheduler, random, 1_000)
        this.store = ground.store
        return ground
      },
    )
    world.latency = () => 1
    world.tickPause = () => 1_000
    world.yoto.way = () => 100
    world.yoto.nextFault = () => this.faults.shift()
    world.onState = (process, state) => this.onState(process, state)
    if (this.store)
      this.store.words = (value) => (value.startsWith('{') ? this.recordInWords(JSON.parse(value)) : value)
    this.world = world
    return world
  }

  private instance(name: string | undefined): Instance {
    const found = this.there().instances.find(({ process }) => process.name === name)
    if (!found) throw new Error(`${name} is not there`)
    return found
  }

  // --- what is told --------------------------------------------------------------------------------------------------

  private onTrace(who: string, what: string): void {
    const words = this.inWords(who, what)
    if (words !== undefined) this.tellLine(who, words)
  }

  private tellLine(who: string, words: string): void {
    const line = `${who} ${words}`
    if (words.startsWith('finds the lease') && this.last.get(who) === words) return // asked for again and again
    this.last.set(who, words)
    this.lines.push({ at: this.there().scheduler.now, text: line })
    const at = this.triggers.findIndex((trigger) => line.startsWith(trigger.line))
    if (at < 0) return
    const [{ command } = { command: '' }] = this.triggers.splice(at, 1)
    this.there().scheduler.after(0, () => this.begin(command))
  }

  /** @returns undefined for what is not worth a line */
  private inWords(who: string, what: string): string | undefined {
    const [said = '', failure] = what.split(' ! ')
    const end = failure ? `, and fails: ${failure}` : ''
    if (said.startsWith('read ') || said === 'keys') return failure && `cannot read: ${failure}`
    if (said === 'lease take') {
      if (failure) return `cannot have the lease: ${failure}`
      const holder = this.store?.heldBy
      return holder === who ? 'takes the lease' : `finds the lease with ${holder}`
    }
    if (said === 'lease check') return failure ? `finds its lease gone: ${failure}` : 'checks its lease'
    if (said === 'lease release') return 'gives the lease back'
    if (said.startsWith('note ')) return `notes ${said.slice(5)}`
    const write = /^write \.(\w+)\S* (.*?)(?: if (\S+))?$/.exec(said)
    if (write) {
      const [, key, value, expected] = write
      if (key !== 'yoto_refresh_token') return `writes its record: ${value}${end}`
      if (expected === undefined) return `writes ${value}${end}`
      const place = expected === 'null' ? 'where nothing is' : expected === value ? 'over itself' : `over ${expected}`
      return `writes ${value} ${place}${end}`
    }
    if (said.startsWith('remove ')) return `removes the token${end}`
    const send = /^yoto (refresh|revoke) (\S+)(.*)$/.exec(said)
    if (send) return `${send[1] === 'refresh' ? 'sends' : 'revokes'} ${send[2]}${send[3]}`
    return what
  }

  private onState(process: SimulatedProcess, state: State): void {
    const words = `now has ${this.stateInWords(state)}`
    const key = `${process.name} state`
    if (this.last.get(key) === words) return
    this.last.set(key, words)
    if (state.kept.is === 'unread' && !state.unsaved && !state.store.unreadable) return
    this.tellLine(process.name, words)
  }

  private stateInWords({ kept, unsaved, store, trouble, debts }: State): string {
    const until = (time: number) => ` until ${clock(time - EPOCH)}`
    const parts: string[] = []
    if (kept.is === 'unread') parts.push('read nothing yet')
    else if (kept.is === 'nothing') parts.push('no sign-in')
    else if (kept.is === 'unusable') parts.push('what is no token')
    else {
      const { stored, set, verdict } = kept
      parts.push(`${stored.token}${set ? until(set.expiresAt) : ' without an access token'}`)
      if (verdict.is !== 'good') parts.push(verdict.is)
    }
    if (unsaved) parts.push(`${unsaved.set.refreshToken}${until(unsaved.set.expiresAt)} not saved`)
    if (store.unreadable) parts.push('a store that cannot be read')
    if (store.unwritable) parts.push('a store that cannot be written')
    if (store.emptied) parts.push('an emptied store')
    if (trouble) parts.push(`trouble (${trouble.kind}, next in ${inSeconds(trouble.pause)})`)
    for (const { note } of debts) parts.push(`a debt (${note})`)
    return parts.join(', ')
  }

  private recordInWords(record: TokenRecord): string {
    const { fingerprint, expires_at, intent, refusals = [], signed_out } = record
    const parts: string[] = []
    if (signed_out) parts.push(`signed out${signed_out.fingerprint ? ` of ${this.name(signed_out.fingerprint)}` : ''}`)
    else if (expires_at) parts.push(`${this.name(fingerprint)} until ${clock(Date.parse(expires_at) - EPOCH)}`)
    else parts.push(`${this.name(fingerprint)} without an access token`)
    if (intent) parts.push(`intent for ${this.name(intent.fingerprint)}`)
    for (const refusal of refusals) parts.push(`${this.name(refusal.fingerprint)} refused`)
    return parts.join(', ')
  }

  /** The token that a fingerprint is of. */
  private name(fingerprint: string | undefined): string {
    const tokens = this.there().yoto.families.flatMap((family) => family.tokens)
    return tokens.find(({ value }) => hash('sha256', value) === fingerprint)?.value ?? 'an unknown token'
  }

  private tellStore(): void {
    const { ground } = this.there()
    const record = ground.record()
    const words = record === null ? 'no record' : this.recordInWords(JSON.parse(record))
    this.lines.push({ text: `${ground.token() ?? 'no token'}; ${words}` })
  }

  private tellStatus(): void {
    for (const { process, keeper } of this.there().instances) {
      const { kept, set, timeLeft, refusal, unusable, notSaved, storage, trouble } = keeper.snapshot()
      const parts = [kept === undefined ? 'does not know' : kept ? 'signed in' : 'signed out']
      if (refusal) parts[0] = 'needs a sign-in'
      if (set && timeLeft > 0) parts.push(`a token of ${this.name(set.fingerprint)} with ${inSeconds(timeLeft)} left`)
      const problem = unusable ?? notSaved ?? storage ?? trouble?.error
      if (problem) parts.push(`${notSaved ? 'not saved: ' : ''}${problem.message}`)
      this.lines.push({ text: `${process.name}: ${parts.join('; ')}` })
    }
  }
}

interface Line {
  at?: number
  text: string
}

/** Milliseconds between two looks at whether everybody has been answered. */
const STEP = 10

/** Nothing happens by chance. */
const unmoved: Random = {
  next: () => 0.5,
  chance: (probability) => probability >= 0.5,
  below: () => 0,
  between: (from, to) => (from + to) / 2,
  pick: (list) => list[0] as (typeof list)[number],
}

/** Whether a lease can be had is tried now and then, and it is given back at once. */
function withoutProbes(lines: Line[]): Line[] {
  const isProbe = (at: number) => {
    const who = lines[at]?.text.split(' ')[0]
    if (lines[at]?.text !== `${who} takes the lease`) return false
    const next = lines.slice(at + 1).find(({ text }) => text.startsWith(`${who} `))
    return next?.text === `${who} gives the lease back`
  }
  const probes = lines.map((_, at) => isProbe(at))
  return lines.filter(({ text }, at) => {
    if (probes[at]) return false
    const who = text.split(' ')[0]
    if (text !== `${who} gives the lease back`) return true
    const before = lines.slice(0, at).findLastIndex((line) => line.text.startsWith(`${who} `))
    return before < 0 || !probes[before]
  })
}

function faultOf(words: string): YotoFault {
  const fault = YOTO_FAULTS.find((one) => one === words)
  if (!fault) throw new Error(`no such answer: ${words}`)
  return fault
}

function duration(words = ''): number {
  const found = /^(\d+)(ms|s|m|h)$/.exec(words)
  if (!found) throw new Error(`not a duration: ${words}`)
  return Number(found[1]) * { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[found[2] as 'ms' | 's' | 'm' | 'h']
}

function inSeconds(time: number): string {
  return `${Math.round(time / 100) / 10} s`
}

/** What follows one another again and again is told once. */
function folded(lines: Line[]): Line[] {
  const told: Line[] = []
  const isSame = (a: number, b: number, length: number) =>
    Array.from({ length }, (_, at) => at).every((at) => lines[a + at]?.text === lines[b + at]?.text)
  for (let at = 0; at < lines.length; at++) {
    told.push(lines[at] as Line)
    for (let length = 1; length <= 12 && length <= at + 1; length++) {
      const from = at + 1 - length
      let times = 0
      while (at + length < lines.length && isSame(from, at + 1, length)) {
        times++
        at += length
      }
      if (times > 0) {
        told.push({ text: `… and again${times > 1 ? ` ${times} times` : ''}` })
        break
      }
    }
  }
  return told
}

/** h:mm:ss.mmm */
function clock(time: number): string {
  if (time < 0) return `-${clock(-time)}`
  const all = Math.round(time)
  const pad = (value: number, digits: number) => String(Math.floor(value)).padStart(digits, '0')
  return `${pad(all / 3_600_000, 1)}:${pad((all / 60_000) % 60, 2)}:${pad((all / 1000) % 60, 2)}.${pad(all % 1000, 3)}`
}
