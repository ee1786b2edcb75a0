/** What INFO has answered, by field (redis.io/commands/info). */
export function infoOf(answer: unknown): Map<string, string> {
  const lines = typeof answer === 'string' ? answer.split('\r\n') : []
  return new Map(lines.filter((line) => /^\w+:/.test(line)).map((line) => cut(line, line.indexOf(':'))))
}

function cut(line: string, at: number): [string, string] {
  return [line.slice(0, at), line.slice(at + 1)]
}
