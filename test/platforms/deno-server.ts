import { binary, versionOf } from './binaries'
import { processPlatform } from './process'

const command = binary('@deno', 'deno')

/** As in the README: nothing is asked for and nothing else is allowed. */
const PERMISSIONS = ['--no-prompt', '--allow-net=127.0.0.1', '--allow-env', '--allow-read', '--allow-write']

export default processPlatform({
  preset: 'deno-server',
  runtime: () => versionOf(command),
  command,
  args: ['run', ...PERMISSIONS],
})
