import { expect, it } from 'vitest'
import { loadCode, type Mutant } from './code'
import type { PlainStore } from './plain-store'
import { run } from './run'
import type { World } from './world'

// Each of these mistakes must be found: by a switch of the store and its lease, or in the text of the production code.

interface Case extends Partial<Mutant> {
  name: string
  profile: string
  /** How many are tried; the mistake is found within these. */
  seeds: number
  store?(store: PlainStore): void
}

const CASES: Case[] = [
  {
    name: 'a store without compare-and-set (rule 6)',
    profile: 'users',
    seeds: 60,
    store: (store) => {
      store.ignoresOnlyIf = true
    },
  },
  {
    name: 'no intent (rule 5)',
    profile: 'calm',
    seeds: 3,
    store: (store) => {
      store.dropsIntents = true
    },
  },
  {
    name: 'a lease that says yes for ever (rule 3)',
    profile: 'all',
    seeds: 500,
    store: (store) => {
      store.leaseAlwaysSaysYes = true
    },
  },
  {
    name: 'a lease that is not renewed (rule 3)',
    profile: 'lossy',
    seeds: 60,
    store: (store) => {
      store.leaseIsNotRenewed = true
    },
  },
  {
    name: 'no look under the lease (rule 3)',
    profile: 'calm',
    seeds: 20,
    file: 'server/keeper/refresh.ts',
    from: 'const seen = await look.takeOver()',
    to: 'const seen = { stored: undefined, record: undefined, lost: false }',
  },
  {
    name: 'no check before the send (rule 3)',
    profile: 'calm',
    seeds: 3,
    file: 'server/keeper/refresh.ts',
    from: 'await held.check()\n      const sent',
    to: 'const sent',
  },
  {
    name: 'a refresh within 10 s of the last (rule 4)',
    profile: 'calm',
    seeds: 60,
    file: 'server/keeper/next.ts',
    from: 'const JUST_REFRESHED = 10_000',
    to: 'const JUST_REFRESHED = 0',
  },
  {
    name: 'used before it is saved (rule 5)',
    profile: 'calm',
    seeds: 500,
    file: 'server/keeper/save.ts',
    from: 'stored = await save(',
    to: `const { refreshToken, fingerprint } = set
      memory.learn(become.saved(memory.state, { raw: refreshToken, token: refreshToken, fingerprint }, set))
      stored = await save(`,
  },
  {
    name: 'an intent that is kept waiting (rule 5)',
    profile: 'deaths',
    seeds: 100,
    file: 'server/keeper/next.ts',
    from: 'trouble || isInDoubt(state) ?',
    to: 'trouble ?',
  },
  {
    name: 'a refusal that is not remembered (rule 7)',
    profile: 'lossy',
    seeds: 60,
    file: 'server/keeper/refresh.ts',
    from: 'withRefusal(stored, record, refusal)',
    to: 'record',
  },
  {
    name: 'a debt that is paid with an old record (rule 7)',
    profile: 'refusals',
    seeds: 100,
    file: 'server/keeper/debts.ts',
    from: `if (isThere(debt.refusal.fingerprint))
          await writeRecord(store, withRefusal(stored as StoredToken, record, debt.refusal))`,
    to: `await writeRecord(store, { version: 1, fingerprint: debt.refusal.fingerprint, refusals: [debt.refusal] })`,
  },
  {
    name: 'failures that are counted on after a success (rule 7)',
    profile: 'outages',
    seeds: 40,
    file: 'server/keeper/refresh.ts',
    from: 'become.failuresOf(memory.state)',
    to: '(moment.failures = (moment.failures ?? -1) + 1)',
  },
  {
    name: 'an unsaved sign-in that overwrites (rule 8)',
    profile: 'held',
    seeds: 500,
    file: 'server/keeper/save.ts',
    from: ': isBefore(seen, set, replaces)',
    to: `: replaces.by === 'sign-in' || isBefore(seen, set, replaces)`,
  },
  {
    name: 'what is held is dropped (rule 8)',
    profile: 'disk',
    seeds: 60,
    file: 'server/keeper/save.ts',
    from: 'memory.learn(become.held(memory.state, { set, replaces, why, isUsed: true, notBefore }))',
    to: 'memory.learn(become.yielded(memory.state))',
  },
  {
    name: 'an emptied store is taken for a sign-out (rule 10)',
    profile: 'emptied',
    seeds: 40,
    file: 'server/keeper/look.ts',
    from: 'if (!stored && !record) return become.isHeld(memory.state)',
    to: 'if (!stored && !record) return false',
  },
  {
    name: 'never ahead (rule 2)',
    profile: 'calm',
    seeds: 500,
    file: 'server/keeper/next.ts',
    from: 'aheadAt(moment),\n    pauseEnd',
    to: 'Number.POSITIVE_INFINITY,\n    pauseEnd',
  },
  {
    name: 'by the wall clock alone (rule 12)',
    profile: 'clocks',
    seeds: 60,
    file: 'server/keeper/token-set.ts',
    from: 'Math.min(set.expiresAt - wall, set.anchor.left - (clock.monotonic() - set.anchor.monotonic))',
    to: 'set.expiresAt - wall',
  },
]

const unmutated = await loadCode()

for (const { name, profile, seeds, store, file, from, to } of CASES) {
  it(name, async () => {
    const code =
      file && from !== undefined && to !== undefined ? await loadCode({ mutant: { file, from, to } }) : unmutated
    const prepare = store && ((world: World) => store((world.ground as unknown as { store: PlainStore }).store))
    const isFoundBy = async (seed: number, as: { code: typeof code; prepare?: typeof prepare }) =>
      (await run({ ...as, seed, profile, ground: 'plain' })).violations[0]
    let seed = 1
    let found = await isFoundBy(seed, { code, prepare })
    while (!found && seed < seeds) found = await isFoundBy(++seed, { code, prepare })
    console.log(`${name}: ${found ? `${profile} ${seed}: ${found}` : 'not found'}`)
    expect(found).toBeDefined()
    for (let same = 1; same <= seed; same++) expect(await isFoundBy(same, { code: unmutated })).toBeUndefined()
  })
}
