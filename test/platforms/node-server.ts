import { processPlatform } from './process'

export default processPlatform({ preset: 'node-server', runtime: async () => `node ${process.version}` })
