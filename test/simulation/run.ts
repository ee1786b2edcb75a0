import type { Code, Surroundings } from './code'
import { filesGround, type Ground, plainGround, redisGround } from './ground'
import { seconds } from './judge'
import { PROFILES, type Profile } from './profiles'
import { createRandom, type Random } from './random'
import type { Scheduler } from './scheduler'
import { type Instance, World } from './world'
import { type Family, YOTO_FAULTS } from './yoto'

export interface Outcome {
  seed: number
  profile: string
  ground: Ground['kind']
  steps: number
  /** Virtual milliseconds. */
  time: number
  tokens: number
  rotations: number
  forced: Record<string, number>
  violations: string[]
}

export interface RunOptions {
  code: (around: Surroundings) => Code
  seed: number
  profile: string
  /** In place of what the seed would choose. */
  ground?: Ground['kind']
  onTrace?(line: string): void
  /** Breaks the world before it begins: the simulator's own tests. */
  prepare?(world: World): void
}

/** Milliseconds after the last fault, by the end of which all must be well. */
const CALM = 7 * 60_000

/** One run: everything in it follows from profile and seed. */
export async function run({ code, seed, profile: name, ground, onTrace, prepare }: RunOptions): Promise<Outcome> {
  const profile = PROFILES[name]
  if (!profile) throw new Error(`no such profile: ${name}`)
  const random = createRandom(seed)
  const chosen = random.pick(profile.grounds)
  const kind = ground ?? chosen
  const world = new World(
    {
      code,
      random,
      yoto: {
        lifetime: random.pick([60_000, 5 * 60_000, 3_600_000, 86_400_000]),
        leeway: random.pick([0, 0, 10_000, 60_000]),
        revocationDeletesGrant: !!profile.revocationDeletesGrant && random.chance(0.2),
      },
      areFunctions: !!profile.areFunctions,
      onTrace: onTrace && ((who, what, time) => onTrace(`${seconds(time)} ${who} ${what}`)),
    },
    (scheduler, random) => groundOf(kind, scheduler, random),
  )
  prepare?.(world)
  await turmoil(world, profile, random)
  await calm(world, random)
  return {
    seed,
    profile: name,
    ground: kind,
    steps: world.scheduler.steps,
    time: world.scheduler.now,
    tokens: world.tokensGiven,
    rotations: world.yoto.families.reduce((sum, { tokens }) => sum + tokens.length - 1, 0),
    forced: world.judge.forced,
    violations: world.judge.violations,
  }
}

function groundOf(kind: Ground['kind'], scheduler: Scheduler, random: Random): Ground {
  if (kind === 'files') return filesGround(random)
  if (kind === 'redis') return redisGround(scheduler, random)
  return plainGround(scheduler, random, random.pick([500, 5_000, 50_000]))
}

// --- while things go wrong -------------------------------------------------------------------------------------------

async function turmoil(world: World, profile: Profile, random: Random): Promise<void> {
  const { judge, ground, yoto, scheduler, instances } = world
  const [fewest, most] = profile.processes
  const wanted = fewest + random.below(most - fewest + 1)
  let isOver = false

  const each = (rate: number | undefined, happen: () => void, isFault = false) => {
    if (!rate) return
    const again = () =>
      scheduler.after((-Math.log(1 - random.next()) * 60_000) / rate, () => {
        if (isOver) return
        if (isFault) judge.disturb()
        happen()
        again()
      })
    again()
  }
  const eachFault = (rate: number | undefined, happen: () => void) => each(rate, happen, true)
  /** Processes that are there to be asked. */
  const any = (): Instance | undefined => {
    const there = instances.filter(({ isClosing }) => !isClosing)
    return there.length > 0 ? random.pick(there) : undefined
  }
  const atAny = (happen: (instance: Instance) => void) => () => {
    const instance = any()
    if (!instance) return
    // A function is run for a request, and may stand still afterwards.
    if (profile.areFunctions) instance.process.goOn()
    instance.process.deliver(() => happen(instance))
  }
  const forAWhile = (begin: () => void, end: () => void, longest: number, what?: 'yoto') => () => {
    begin()
    scheduler.after(random.between(50, longest), () => {
      judge.disturb(what)
      if (!isOver) end()
    })
  }
  const user = () => random.pick(['ann', 'ann', 'ben'])

  const first = yoto.issue('ann')
  world.putByHand(first.body.refresh_token, first.family)
  for (let n = 0; n < wanted; n++) world.start()
  let isYotoAway = false
  yoto.nextFault = () => {
    if (isOver) return undefined
    if (isYotoAway) return random.pick(['not sent', 'lost before', '500 before'])
    return random.chance(profile.yotoFaults ?? 0) ? random.pick(YOTO_FAULTS) : undefined
  }
  const setYotoAway = (away: boolean) => {
    world.trace('yoto', away ? 'is away' : 'is back')
    isYotoAway = away
  }
  each(
    profile.yotoAway,
    forAWhile(
      () => setYotoAway(true),
      () => setYotoAway(false),
      120_000,
      'yoto',
    ),
  )

  const wants = random.pick([[undefined], [undefined, undefined, 30_000, 600_000]])
  each(
    profile.tokens,
    atAny((one) => void world.askForToken(one, random.pick(wants))),
  )
  each(
    profile.renewals,
    atAny((one) => void world.renew(one)),
  )
  each(
    profile.refreshes,
    atAny((one) => void world.refreshNow(one)),
  )
  each(
    profile.signIns,
    atAny((one) => world.signIn(one, user())),
  )
  each(
    profile.signOuts,
    atAny((one) => void world.signOut(one)),
  )
  const byHand = () => {
    const stored = ground.token()?.trim()
    const known = stored ? yoto.find(stored) : undefined
    if (random.chance(0.4)) {
      if (stored) world.removeByHand()
    } else if (random.chance(0.1)) world.putGarbage()
    else if (known && random.chance(0.3)) world.putByHand(`${stored}\n`, known.family)
    else {
      const { family, body } = yoto.issue(user())
      world.putByHand(body.refresh_token, family)
    }
  }
  const crash = (one = any()) => one && world.crash(one)
  each(profile.byHand, byHand)
  eachFault(profile.crashes, () => void crash())
  each(profile.ends, () => {
    const one = any()
    if (one) world.end(one)
  })
  each(20, () => {
    if (instances.length < wanted) world.start()
  })
  const stop = (one = any()) => {
    if (!one || one.process.isStopped) return
    world.trace(one.process.name, 'stands still')
    one.process.stop(random.chance(0.3))
    scheduler.after(random.between(100, random.pick([3_000, 30_000, 300_000])), () => {
      if (one.process.isStopped) world.trace(one.process.name, 'goes on')
      one.process.goOn()
      judge.disturb()
    })
  }
  eachFault(profile.stops, stop)
  if (profile.areFunctions) {
    each(12, () => any()?.process.stop(false))
  }
  eachFault(profile.clockJumps, () => {
    const one = any()
    if (!one) return
    world.clockHasJumped = true
    one.process.wallOffset +=
      random.pick([-1, 1]) * random.between(1_000, random.pick([yoto.options.lifetime, 86_400_000]))
  })
  eachFault(
    profile.storeAway,
    forAWhile(
      () => world.setAway(true),
      () => world.setAway(false),
      random.pick([2_000, 20_000, 120_000]),
    ),
  )
  const fill = forAWhile(
    () => world.setFull(true),
    () => world.setFull(false),
    60_000,
  )
  eachFault(profile.storeFull, fill)
  eachFault(
    profile.storeLies,
    forAWhile(
      () => world.setLies(0.5),
      () => world.setLies(0),
      10_000,
    ),
  )
  eachFault(profile.storeEmptied, () => world.emptyStore(profile.areFunctions ? Number.POSITIVE_INFINITY : 60_000))
  eachFault(profile.powerLosses, () => {
    for (const one of [...instances]) world.crash(one)
    world.trace('store', 'power is lost')
    if (ground.loseUnflushed()) judge.rolledBack()
  })
  eachFault(profile.failovers, () => {
    world.trace('store', 'failover')
    if (ground.loseLease()) judge.leaseLostAt = scheduler.now
    if (ground.loseUnflushed()) judge.rolledBack()
  })
  // Most of what goes wrong does harm only while somebody refreshes.
  const hits: ((one: Instance) => void)[] = []
  if (profile.byHand) hits.push(byHand)
  if (profile.crashes) hits.push((one) => void crash(one))
  if (profile.stops) hits.push(stop)
  if (profile.storeFull) hits.push(fill)
  world.onLease = (holder) => {
    if (isOver || hits.length === 0 || !random.chance(profile.overRefresh ?? 0)) return
    const hit = random.pick(hits)
    scheduler.after(random.between(0, random.pick([30, 500])), () => {
      const one = instances.find(({ process }) => process === holder)
      if (isOver || !one) return
      if (hit !== byHand) judge.disturb()
      hit(one)
    })
  }
  each(60, () => {
    world.noteStored()
    world.noteSaved()
  })

  await world.runFor(profile.turmoil)
  isOver = true
  judge.disturb()
  world.setAway(false)
  world.setFull(false)
  world.setLies(0)
  for (const { process } of instances) process.goOn()
}

// --- afterwards ------------------------------------------------------------------------------------------------------

async function calm(world: World, random: Random): Promise<void> {
  const { judge, instances, yoto, ground } = world
  world.calmSince = world.scheduler.now
  world.trace('world', 'is calm')
  world.tickPause = () => random.between(2_000, 6_000)
  while (instances.length === 0 || (instances.length < 2 && random.chance(0.5))) world.start()
  const sends = yoto.sends
  for (let minute = 0; minute < 7; minute++) {
    for (const one of instances) if (!one.isClosing) void world.askForToken(one)
    await world.runFor(CALM / 7 / 2)
    world.noteStored()
    world.noteSaved()
    await world.runFor(CALM / 7 / 2)
  }
  world.noteSaved()

  const perToken = 0.5 * Math.min(yoto.options.lifetime, 12 * 3_600_000)
  const most = (2 * CALM) / perToken + 4 * instances.length + 4
  // Each of two machines whose clocks differ takes the other's token for one from the future (rule 12).
  if (yoto.sends - sends > most && !world.clockHasJumped)
    judge.violate(`${yoto.sends - sends} refreshes in the last 7 minutes`)

  const answers = new Map<string, Family | string>()
  for (const one of instances) {
    void world.askForToken(one).then((answer) => answers.set(one.process.name, answer))
  }
  await world.runFor(60_000)
  for (const { process, calls } of instances) {
    for (const { what, since } of calls) {
      if (world.scheduler.now - since >= 60_000)
        judge.violate(`${process.name} ${what} has been waiting since ${seconds(since)}`)
    }
  }
  for (const lack of ground.lacks ?? []) judge.violate(`not simulated: ${lack}`)
  const wanted = judge.wanted()
  const words = [...wanted].map((family) => family?.name ?? 'nobody').join(' or ')
  for (const [name, answer] of answers) {
    const isRight =
      typeof answer !== 'string'
        ? wanted.has(answer) && (!answer.endedBy || judge.isForced(answer))
        : answer === 'signed_out'
          ? wanted.has(null)
          : answer === 'needs_sign_in' && [...wanted].some((family) => family?.endedBy)
    if (!isRight) {
      const what = typeof answer === 'string' ? answer : `${answer.name}${answer.endedBy ? ` (${answer.endedBy})` : ''}`
      judge.violate(`${name} ends with ${what}, and ${words} is to be signed in`)
    }
  }
  const ends = [...answers.values()].map((answer) =>
    typeof answer !== 'string' && answer.endedBy ? 'needs_sign_in' : answer,
  )
  if (new Set(ends).size > 1) judge.violate('the processes do not agree')
  const lies = ground.token()?.trim()
  const stored = lies ? yoto.find(lies) : undefined
  const [answer] = answers.values()
  if (answer && typeof answer !== 'string') {
    if (stored?.family !== answer) judge.violate(`what is stored is not what is used: ${lies}`)
    else if (stored.replaced && world.scheduler.now - stored.replaced.at > 30_000 && !answer.endedBy)
      judge.violate(`what is stored has been replaced: ${lies}`)
  }
}
