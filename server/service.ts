import type { Backend } from '../storage'
import { type Access, createAccess } from './access/access'
import type { Config } from './config'
import type { Doctor } from './doctor/doctor'
import { fromStorage, KeeperError } from './errors'
import { systemClock } from './keeper/clock'
import { createJournal, type Journal } from './keeper/journal'
import { createKeeper, type Keeper } from './keeper/keeper'
import { createLasting, type Lasting } from './lasting'
import { type BrowserLogins, createBrowserLogins } from './logins/browser'
import { createDeviceLogins, type DeviceLogins } from './logins/device'
import { createPendingLogins } from './logins/pending'
import { createNotices } from './notices/notices'
import { isProcess, isUnattended } from './platform'
import { yotoOf } from './yoto/yoto'

/** Everything that the routes call, put together once a process. */
export interface Service {
  config: Config
  /** Where state is kept, in words for people. */
  place: string
  access: Access
  keeper: Keeper
  deviceLogins: DeviceLogins
  browserLogins: BrowserLogins
  journal: Journal
  lasting: Lasting
  /** Loaded when it is first asked for. */
  doctor(): Promise<Doctor>
  /** Does what has come due; for where nothing runs between requests. Never throws. */
  catchUp(): Promise<void>
  /** When `catchUp` has something to do next, in milliseconds since 1970; undefined: not before the next request. */
  nextDue(): number | undefined
  /** Begins nothing new, waits for a refresh or a sign-in and its save, at most 10 s (rule 11). */
  close(): Promise<void>
}

/** Milliseconds. */
const LONGEST_FAREWELL = 10_000
/** Milliseconds between two looks at the clock; what the store is asked is the keeper's to pace. */
const TICK = 250

/** Puts the parts together, reads what is stored, and begins to look after it. */
export async function createService(config: Config, backend: Backend): Promise<Service> {
  const clock = systemClock
  const print = (line: string) => console.log(line)
  const { store, watchInterval, removeLeftovers } = backend
  const journal = createJournal(store, backend.lease('journal'), print, isProcess)
  const access = createAccess(store, config, () =>
    journal.add('access', 'refused', 'Too many wrong keys were shown; they are refused for a minute.'),
  )
  const lease = backend.lease('token')
  const keeper = createKeeper({
    config,
    store,
    lease,
    journal,
    clock,
    yoto: yotoOf(config, clock.wall),
    watchInterval,
    isUnattended,
    removeLeftovers,
  })
  const pending = createPendingLogins({ config, store, keeper, clock })
  const deviceLogins = createDeviceLogins({ config, pending, lease: backend.lease('login'), keeper, journal, clock })
  const browserLogins = createBrowserLogins({ config, pending, keeper, journal, clock })
  const notices = createNotices({ config, store, keeper, lease: backend.lease('notice'), journal, clock })

  const lasting = createLasting(config.storageWarning, backend.durability, clock)

  journal.add('start', 'ok', 'The service has started.')
  await keeper.start()
  if (config.encryptionKeys.length > 0) await access.saveAgain().catch(() => {}) // what cannot be read says so when it is needed
  await deviceLogins.start().catch(() => {}) // a store that cannot be read is the keeper's to report
  const parts = [keeper, deviceLogins, notices]
  // Each in a loop of its own: none waits for another.
  const stop = isProcess ? [...parts, lasting].map(({ tick }) => every(TICK, tick)) : []
  let catchingUp: Promise<void> | undefined
  let doctor: Promise<Doctor> | undefined

  return {
    config,
    place: backend.place,
    access,
    keeper,
    deviceLogins,
    browserLogins,
    journal,
    lasting,
    doctor() {
      doctor ??= import('./doctor/doctor').then(({ createDoctor }) =>
        createDoctor({
          config,
          place: backend.place,
          keeper,
          clock,
          storageChecks: [...backend.checks, lasting.check],
        }),
      )
      return doctor
    },
    catchUp() {
      const done = () => {
        catchingUp = undefined
      }
      // The journal last, with what the others have noted.
      catchingUp ??= Promise.allSettled(parts.map(({ tick }) => tick()))
        .then(journal.tick)
        .then(done, done)
      return catchingUp
    },
    nextDue: () => earliest([...parts, journal].map((part) => part.nextDue())),
    async close() {
      for (const end of stop) end()
      notices.close()
      const logins = Promise.all([deviceLogins.close(), browserLogins.close()])
      await Promise.race([keeper.close(logins), pause(LONGEST_FAREWELL)])
      await Promise.race([journal.flush(), pause(1_000)])
    },
  }
}

function earliest(times: (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined)
  return known.length > 0 ? Math.min(...known) : undefined
}

/** Calls `work` again and again, `interval` ms after it has ended, until the returned function is called. */
function every(interval: number, work: () => Promise<void>): () => void {
  let timer: ReturnType<typeof setTimeout>
  const again = () => {
    timer = setTimeout(() => {
      work()
        .catch((error) => console.error(`background work: ${(fromStorage(error) as Error).message}`))
        .finally(again)
    }, interval)
    ;(timer as { unref?: () => void }).unref?.()
  }
  again()
  return () => clearTimeout(timer)
}

function pause(duration: number): Promise<void> {
  return new Promise((resolve) => {
    ;(setTimeout(resolve, duration) as { unref?: () => void }).unref?.()
  })
}

let start: (() => Promise<Service>) | undefined
let service: Promise<Service> | undefined

/** For the plugin that knows how the service is started; it is, by the first that asks for it. */
export function provideService(how: () => Promise<Service>): void {
  start = how
  service = undefined
}

/**
 * The running service.
 * @throws KeeperError when it could not start
 */
export function useService(): Promise<Service> {
  if (!start) return Promise.reject(new KeeperError('not_configured', 'The service has not been started.'))
  service ??= start()
  return service
}

/** Before an answer ends: where nothing runs afterwards, what was noted while it was made is written. Never throws. */
export async function settle(): Promise<void> {
  if (!isUnattended) await (await service?.catch(() => undefined))?.journal.tick()
}
