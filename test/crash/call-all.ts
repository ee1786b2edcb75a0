import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { TestContext } from 'vitest'
import type { Keeper } from '../support/keeper-process'
import type { Message, Order, Report } from './callers'

/** Two processes that call all `keepers`, each from half of the callers. */
export async function openCallers(
  { onTestFinished }: Pick<TestContext, 'onTestFinished'>,
  keepers: Keeper[],
  callers: number,
) {
  const children = [0, 1].map(() => {
    const child = fork(fileURLToPath(new URL('callers.ts', import.meta.url)), { execArgv: ['--import', 'tsx'] })
    child.setMaxListeners(100)
    onTestFinished(() => void child.kill('SIGKILL'))
    return child
  })
  const tell = (message: Message) => {
    for (const child of children) child.send(message)
  }
  const all = (now: Report['now']) => Promise.all(children.map((child) => reported(child, now)))
  return {
    /** Connects, and then sends all requests at once; resolves when all have left, with what will be answered. */
    async fire(path: string, method: Order['method'] = 'GET') {
      const urls = keepers.map(({ url }) => url)
      const [connected, sent, answered] = [all('connected'), all('sent'), all('answered')]
      tell({ urls, callers: callers / 2, method, path, key: keepers[0]?.key ?? '' })
      await connected
      tell('fire')
      await sent
      return { answers: answered.then(sum) }
    },
  }
}

function reported(child: ChildProcess, now: Report['now']): Promise<Report> {
  return new Promise((resolve, reject) => {
    const listen = (report: Report) => {
      if (report.now !== now) return
      child.off('message', listen)
      resolve(report)
    }
    child.on('message', listen)
    child.once('exit', () => reject(new Error('the callers ended early')))
  })
}

function sum(reports: Report[]): Record<string, number> {
  const total: Record<string, number> = {}
  for (const report of reports) {
    if (report.now !== 'answered') continue
    for (const [answer, count] of Object.entries(report.answers)) total[answer] = (total[answer] ?? 0) + count
  }
  return total
}
