import { binary, versionOf } from './binaries'
import { processPlatform } from './process'

const command = binary('@oven', 'bin/bun')

export default processPlatform({
  preset: 'bun',
  runtime: async () => `bun ${await versionOf(command)}`,
  command,
  args: ['run'],
})
