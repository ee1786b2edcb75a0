import { type Program, serve } from './processes'
import { AUTHORIZATION } from './scene'

/** What is compared must answer the same, or it is something else that is measured. */

const CONNECTION = ['connection', 'keep-alive', 'date', 'content-length', 'content-type', 'transfer-encoding']

/** What a program says beside the answer itself. */
export async function securityHeadersOf(program: Program, path: string): Promise<Record<string, string>> {
  const server = await serve(program)
  const { headers } = await fetch(server.url + path, { headers: AUTHORIZATION })
  await server.stop()
  return Object.fromEntries([...headers].filter(([name]) => !CONNECTION.includes(name)))
}

/** @throws Error where status, body, type, or one of `headers` differs */
export async function expectSame(ours: Program, theirs: Program, path: string, headers: string[] = []): Promise<void> {
  const servers = await Promise.all([serve(ours), serve(theirs)])
  const say = async ({ url }: { url: string }) => {
    const answer = await fetch(url + path, { headers: AUTHORIZATION })
    const said = ['content-type', ...headers].map((name) => `${name}: ${answer.headers.get(name)}`)
    return [answer.status, ...said, await answer.text()].join('\n')
  }
  // A second may begin between the two.
  for (let attempt = 1; ; attempt++) {
    const [one, other] = await Promise.all(servers.map(say))
    if (one === other && one?.startsWith('200')) break
    if (attempt === 3) throw new Error(`${theirs.entry} does not answer as the service does:\n${one}\n\n${other}`)
  }
  for (const server of servers) await server.stop()
}
