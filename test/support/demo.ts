import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepareDemo } from './demo-parts'

/** `npm run demo`: the built service, with a local authorization server in Yoto's place, so that no account is needed. */

const folder = await mkdtemp(join(tmpdir(), 'keeper-demo-'))
const { url, yoto, env } = await prepareDemo(process.env.PORT || '8080')

console.log(`
  DEMO: no Yoto account is used. A local authorization server stands in for Yoto: ${yoto.url}

  1. Open the link that the service prints below; the part after #key= is its key.
  2. Press "Sign in to Yoto". At the demo's login page any name and password will do.
  3. Then ask for a token, as your programs would:
     curl -H 'Authorization: Bearer KEY' ${url}/api/token
  4. Or run the examples, which find an invented family with two players:
     KEEPER_URL=${url} KEEPER_KEY=KEY YOTO_API_URL=${yoto.url} sh examples/shell/players.sh

  Ctrl-C ends the demo, and everything it has stored is gone: what the page says of surviving a restart is true of a service of your own.
`)

const { PATH = '', HOME = '' } = process.env
const entry = fileURLToPath(new URL('../../.output/server/index.mjs', import.meta.url))
const service = spawn(process.execPath, [entry], {
  cwd: folder,
  env: { PATH, HOME, DATA_DIR: folder, ...env },
  stdio: 'inherit',
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => service.kill('SIGTERM'))

const [code] = await once(service, 'close')
await yoto.stop()
await rm(folder, { recursive: true, force: true })
process.exitCode = code ?? 0
