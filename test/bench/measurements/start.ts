import { connect } from 'node:net'
import { buildApp } from '../build-app'
import { launch, type Program } from '../processes'
import { KEY, type Scene } from '../scene'
import type { Row } from '../table'
import { inTurns, ratios, spreadOf } from '../turns'

/** From the start of the process to the first token, which lies on disk. */
export async function start(scene: Scene, rounds: number): Promise<Row[]> {
  const { program, token } = await scene.signedIn()
  const env = { BENCH_TOKEN: token.access_token, BENCH_EXPIRES_AT: token.expires_at }
  const bare = { entry: `${await buildApp('bare')}/index.mjs`, env }
  const contestants = {
    service: () => timeToFirstToken(program),
    bare: () => timeToFirstToken(bare),
    again: () => timeToFirstToken(program),
  }
  await inTurns(contestants, 1)
  const times = await inTurns(contestants, rounds * 2)
  return [
    {
      what: 'start of the process to the first token served',
      beside: 'bare Nitro app',
      figures: `${spreadOf(times.service).median.toFixed(0)} / ${spreadOf(times.bare).median.toFixed(0)} ms`,
      result: ratios(times.service, times.bare),
      target: { comparison: '<=', value: 1.2 },
      control: ratios(times.again, times.service),
    },
  ]
}

async function timeToFirstToken(program: Program): Promise<number> {
  const began = performance.now()
  const server = await launch(program)
  let answer: string | undefined
  while (!answer?.startsWith('HTTP/1.1 200')) {
    if (performance.now() - began > 15_000) throw new Error(`${program.entry} did not answer: ${answer}`)
    answer = await askOnce(server.port)
  }
  const took = performance.now() - began
  await server.stop()
  return took
}

/** Undefined: nobody listens yet. */
function askOnce(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('error', () => setTimeout(resolve, 1))
    socket.once('data', (data) => {
      socket.destroy()
      resolve(data.toString())
    })
    socket.write(`GET /api/token HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${KEY}\r\n\r\n`)
  })
}
