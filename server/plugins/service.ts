import { defineNitroPlugin, useStorage } from 'nitropack/runtime'
import { type ObjectStorage, openBackend, throughMount } from '../../storage'
import { type Config, ConfigError, readConfig } from '../config'
import { fromStorage, KeeperError } from '../errors'
import { REFRESH_TOKEN, TOKEN_SET } from '../keeper/records'
import { hasAlarm, isProcess } from '../platform'
import { createService, provideService, type Service, settle, useService } from '../service'
import { unknownScopes } from '../yoto/scopes'

/** Reads the configuration and starts the service when the process starts; ends it with the process. */
export default defineNitroPlugin((nitroApp) => {
  if (hasAlarm) return // durable-object.ts starts it, within the object
  provideService(start)
  // Elsewhere the first request starts it: a worker's plugins may neither wait nor draw random numbers.
  if (!isProcess) {
    nitroApp.hooks.hook('beforeResponse', settle) // too late for what is sent, and not returned
    return
  }

  process.env.PORT ||= '8080' // Nitro's own default is 3000
  const started = useService()
  started.catch((error) => console.error(error.message))

  const close = async () => (await started.catch(() => undefined))?.close()
  nitroApp.hooks.hook('close', close)
  // Nitro waits for open streams first, up to 30 s, and only then calls its hook: too late for a refresh (rule 11).
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, async () => {
      await close()
      // Answers that were waiting for the refresh leave now; streams are not waited for.
      setTimeout(() => process.exit(0), 200)
    })
  }
  // Nitro's entry logs it, and lets the process go on unheard, to an end that looks like success.
  process.on('uncaughtException', async ({ syscall, code, port }: NodeJS.ErrnoException & { port?: number }) => {
    if (syscall !== 'listen' || import.meta.dev) return
    console.error(`Port ${port} cannot be listened on (${code}): set PORT to another, or stop what has it.`)
    await close()
    process.exit(1)
  })
})

/** @param objectStorage that of the Durable Object that this runs in */
export async function start(
  objectStorage?: ObjectStorage,
  env: Record<string, unknown> = process.env,
): Promise<Service> {
  const config = configure(env)
  const { dataDir: dir, needsVolume, redisUrl, upstash, environment, encryptionKeys } = config
  const leasedKeys = [REFRESH_TOKEN, TOKEN_SET]
  const backend = await openBackend({
    dir,
    needsVolume,
    objectStorage,
    redisUrl,
    upstash,
    environment,
    leasedKeys,
    encryptionKeys,
  })
  if (!backend) {
    throw new KeeperError('not_configured', 'No durable store is set: a sign-in could not be kept on this platform.', {
      hint: 'Set UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN, or REDIS_URL, and deploy again.',
    })
  }
  await useStorage().unmount('tokens', false) // a Durable Object that is made anew may find its forerunner's
  useStorage().mount('tokens', backend.driver)
  const service = await createService(config, { ...backend, store: throughMount(useStorage('tokens')) })
  const announced = announce(service)
  if (!isProcess) await announced
  return service
}

/**
 * A wrong value stops the start. `nitro dev` goes on, so that a saved .env is taken up, and answers 503 until then, as functions and
 * workers do.
 */
function configure(env: Record<string, unknown>): Config {
  try {
    return readConfig(env, process.cwd())
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    if (import.meta.dev || !isProcess) throw new KeeperError('not_configured', error.message)
    console.error(error.message)
    process.exit(1)
  }
}

/** What an operator wants to know at the start. The link is the one place where a key is printed. */
async function announce({ config, place, access, keeper }: Service): Promise<void> {
  const { kept, set } = keeper.snapshot()
  const state = kept
    ? `signed in${set ? `, token valid until ${new Date(set.expiresAt).toISOString()}` : ''}`
    : 'nobody is signed in'
  console.log(`Yoto Token Keeper: ${state}; kept in ${place}`)
  if (!config.clientId)
    console.warn('YOTO_CLIENT_ID is not set: get a client id at https://yoto.dev, set it and restart.')
  if (config.storageWarning) console.warn(config.storageWarning)
  const unknown = unknownScopes(config.scope)
  if (unknown.length > 0)
    console.warn(`YOTO_SCOPE asks for what Yoto does not list: ${unknown.join(' ')}. It is passed on as it is.`)
  if (import.meta.dev) return
  const key = await access.unusedKey().catch((thrown) => {
    const { message, hint } = fromStorage(thrown) as KeeperError
    console.error(['There is no keeper key, and nobody gets in.', message, hint].filter(Boolean).join(' '))
    return undefined
  })
  if (key) {
    const address =
      config.publicUrls[0] ?? (isProcess ? `http://localhost:${process.env.PORT}` : 'https://<its address>')
    console.log(
      `Open this link once to unlock the page (it is printed until it has been used):\n  ${address}/#key=${key}`,
    )
  }
}
