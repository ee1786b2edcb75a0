import type { Check, Finding } from '../../storage'
import type { Config } from '../config'
import type { Clock } from '../keeper/clock'
import type { Keeper } from '../keeper/keeper'
import { causeCode } from '../yoto/request'
import { configurationChecks } from './configuration'
import { signInChecks } from './sign-in'
import { yotoChecks } from './yoto'

/** What `GET /api/doctor` says of one thing. */
export interface Examined extends Finding {
  name: string
}

export interface Doctor {
  /**
   * Looks at everything that the sign-in hangs on, and changes nothing. Who asks while that goes on gets the same answer. Never throws,
   * and takes about 5 s at most.
   */
  examine(): Promise<Examined[]>
}

interface DoctorParts {
  config: Config
  place: string
  keeper: Keeper
  clock: Clock
  storageChecks: readonly Check[]
}

/** Milliseconds for each check; all are made at the same time. */
const TIME_LIMIT = 4_500

export function createDoctor({ config, place, keeper, clock, storageChecks }: DoctorParts): Doctor {
  let underway: Promise<Examined[]> | undefined

  async function examine(): Promise<Examined[]> {
    const checks = [
      ...configurationChecks(config, place),
      ...storageChecks,
      ...yotoChecks(config, clock),
      ...signInChecks(config, keeper),
    ]
    const examined = await Promise.all(checks.map(examineOne))
    return examined.filter((one) => one !== undefined)
  }

  return {
    examine() {
      underway ??= examine().finally(() => {
        underway = undefined
      })
      return underway
    },
  }
}

async function examineOne({ name, look }: Check): Promise<Examined | undefined> {
  try {
    const found = await inTime(look())
    return found && { name, ...found }
  } catch (error) {
    // Its message is not of our making, and may say more than it should.
    const message = `This could not be looked at (${causeCode(error) || 'unexpected error'}).`
    return { name, ok: false, message, hint: 'Look at the log: `railway logs`, or where the service was started.' }
  }
}

function inTime(look: Promise<Finding | undefined>): Promise<Finding | undefined> {
  let timer: ReturnType<typeof setTimeout>
  const late = new Promise<Finding>((resolve) => {
    const message = `There was no answer within ${TIME_LIMIT / 1000} seconds.`
    const hint = 'Try again; if it stays so, restart the service: `railway restart`, or where it was started.'
    timer = setTimeout(() => resolve({ ok: false, message, hint }), TIME_LIMIT)
  })
  return Promise.race([look, late]).finally(() => clearTimeout(timer))
}
