import type { Ground } from './ground'

/** What happens in a world: how often a minute, of everything. */
export interface Profile {
  grounds: readonly Ground['kind'][]
  processes: readonly [number, number]
  /** Nothing runs between requests, and a process may stand still there. */
  areFunctions?: boolean
  /** Milliseconds until everything is left alone. */
  turmoil: number
  /** What tools ask for: tokens, another token than a refused one, a refresh. */
  tokens: number
  renewals: number
  refreshes: number
  signIns?: number
  signOuts?: number
  /** The token's file is removed, or replaced, by a person. */
  byHand?: number
  crashes?: number
  /** SIGTERM. */
  ends?: number
  stops?: number
  clockJumps?: number
  storeAway?: number
  storeFull?: number
  /** Writes are reported failed that have reached the store. */
  storeLies?: number
  storeEmptied?: number
  powerLosses?: number
  failovers?: number
  /** Of Yoto's answers, how many go wrong. */
  yotoFaults?: number
  yotoAway?: number
  /** Of the times that the lease is taken, how many are hit by one of these: a hand, a crash, a stop, a full store. */
  overRefresh?: number
  revocationDeletesGrant?: boolean
}

const use = { tokens: 12, renewals: 0.5, refreshes: 0.5 }
const calm: Profile = { grounds: ['plain', 'files', 'redis'], processes: [1, 4], turmoil: 12 * 60_000, ...use }
const users: Profile = {
  ...calm,
  signIns: 0.4,
  signOuts: 0.15,
  byHand: 0.15,
  overRefresh: 0.1,
  revocationDeletesGrant: true,
}
const lossy: Profile = { ...users, yotoFaults: 0.3 }
const crashes: Profile = { ...users, crashes: 0.5, ends: 0.3, powerLosses: 0.1, overRefresh: 0.2, yotoFaults: 0.05 }
const pauses: Profile = { ...users, stops: 0.7, clockJumps: 0.2, yotoFaults: 0.05 }
const store = { storeAway: 0.4, storeFull: 0.3, storeLies: 0.4, storeEmptied: 0.05 }

export const PROFILES: Record<string, Profile> = {
  calm,
  users,
  lossy,
  crashes,
  deaths: { ...calm, crashes: 0.1, overRefresh: 0.3 },
  pauses,
  outages: { ...calm, yotoAway: 0.3 },
  clocks: { ...calm, processes: [1, 2], clockJumps: 1, refreshes: 0.1, renewals: 0.1 },
  emptied: { ...calm, storeEmptied: 0.2 },
  /** Sign-ins, refusals and renewals that the store does not take. */
  held: { ...users, signIns: 2, signOuts: 0.5, storeAway: 1, storeFull: 0.5, overRefresh: 0.3, yotoFaults: 0.3 },
  /** Refusals that the store does not take, and sign-ins after them. */
  refusals: {
    ...calm,
    processes: [2, 3],
    signIns: 4,
    storeFull: 0.2,
    overRefresh: 0.5,
    yotoFaults: 0.5,
  },
  disk: { ...users, ...store, crashes: 0.2, yotoFaults: 0.03 },
  functions: { ...users, ...store, grounds: ['plain', 'redis'], areFunctions: true, crashes: 0.3, yotoFaults: 0.1 },
  all: {
    ...users,
    ...store,
    crashes: 0.5,
    ends: 0.3,
    powerLosses: 0.05,
    stops: 0.3,
    clockJumps: 0.05,
    failovers: 0.1,
    yotoFaults: 0.15,
  },
}
