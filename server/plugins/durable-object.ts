import type { H3Event } from 'h3'
import { defineNitroPlugin } from 'nitropack/runtime'
import type { ObjectStorage } from '../../storage'
import { hasAlarm } from '../platform'
import { provideService, type Service, useService } from '../service'
import { start } from './service'

/** Milliseconds: an alarm for something that should have been done already, and the one that is set before anything is tried. */
const SOON = 1_000
const FALLBACK = 300_000

/** The alarm that this object has set, in milliseconds since 1970. */
let setBefore: number | undefined

/**
 * On Cloudflare: starts the service within the Durable Object, and has it woken when there is something to do. The Worker, which may
 * share this memory with it, never gets to the service (front/forward.ts).
 */
export default defineNitroPlugin(({ hooks }) => {
  if (!hasAlarm) return
  let storage: ObjectStorage | undefined

  // An object that is made anew in the same memory starts anew. Nitro puts `env` into process.env for requests, and not for alarms.
  hooks.hook('cloudflare:durable:init', (_, { state, env }) => {
    const ours = state.storage as ObjectStorage
    storage = ours
    setBefore = undefined
    provideService(() => start(ours, env as Record<string, unknown>).catch(reportAndThrow))
  })

  hooks.hook('cloudflare:durable:alarm', () => storage && onAlarm(storage).catch(report))

  const afterwards = (event: H3Event | undefined) => {
    if (event?.context.cloudflare?.durable && storage) event.waitUntil(lookAhead(storage).catch(report))
  }
  hooks.hook('afterResponse', afterwards)
  hooks.hook('error', (_, { event }) => afterwards(event)) // then Nitro does not call the other one
})

/** Whatever happens, another alarm is set by then. */
async function onAlarm(storage: ObjectStorage): Promise<void> {
  setBefore = undefined
  await storage.setAlarm(Date.now() + FALLBACK)
  await lookAhead(storage)
}

/** Does what has come due, and sets the alarm for what will be next. A service that cannot start leaves it as it is. */
async function lookAhead(storage: ObjectStorage): Promise<void> {
  const service = await useService().catch(() => undefined)
  if (!service) return
  await service.catchUp()
  await setAlarm(storage, service)
}

async function setAlarm(storage: ObjectStorage, { nextDue }: Service): Promise<void> {
  const due = nextDue()
  const set = await storage.getAlarm()
  if (due === undefined) {
    if (set !== null) await storage.deleteAlarm()
    return
  }
  const time = Math.ceil(due > Date.now() ? due : Date.now() + SOON)
  // Every setting is a write that is paid for; a little early does no harm. One that an earlier object has set is set anew: workerd,
  // when it is started again, shows it and lets it pass.
  if (set !== null && set === setBefore && set <= time && set >= time - SOON) return
  setBefore = set === time ? time + 1 : time // the same one would not be set
  await storage.setAlarm(setBefore)
}

function report(error: Error): void {
  console.error(`alarm: ${error.message}`)
}

function reportAndThrow(error: Error): never {
  console.error(error.message)
  throw error
}
