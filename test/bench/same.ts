import { AUTHORIZATION } from './scene'

/** What is compared must answer the same, or it is something else that is measured. */

const CONNECTION = ['connection', 'keep-alive', 'date', 'content-length', 'content-type', 'transfer-encoding']

/** What the service says beside the answer itself. */
export async function securityHeadersOf(url: string): Promise<Record<string, string>> {
  const { headers } = await fetch(url, { headers: AUTHORIZATION })
  return Object.fromEntries([...headers].filter(([name]) => !CONNECTION.includes(name)))
}

/** @throws Error where status, body, type, or one of `headers` differs */
export async function expectSame(ours: string, theirs: string, path: string, headers: string[] = []): Promise<void> {
  const say = async (url: string) => {
    const answer = await fetch(url + path, { headers: AUTHORIZATION })
    const said = ['content-type', ...headers].map((name) => `${name}: ${answer.headers.get(name)}`)
    return [answer.status, ...said, await answer.text()].join('\n')
  }
  // A second may begin between the two.
  for (let attempt = 1; ; attempt++) {
    const [one, other] = await Promise.all([say(ours), say(theirs)])
    if (one === other && one.startsWith('200')) return
    if (attempt === 3) throw new Error(`${theirs} does not answer as the service does:\n${one}\n\n${other}`)
  }
}
