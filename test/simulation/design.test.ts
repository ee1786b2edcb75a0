import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { loadCode } from './code'
import { PROFILES } from './profiles'
import { run } from './run'
import type { State, World } from './world'

// What docs/design.md says of the state and of the tests is so. DESIGN=write draws the picture anew.

const PAGE = 'docs/design.md'
const page = readFileSync(PAGE, 'utf8')
const PICTURE = /```mermaid\nstateDiagram-v2\n(.*?)```/s
const SEEDS = 6

const nameOf = ({ kept, unsaved }: State) => {
  if (unsaved) return 'unsaved'
  return (kept.is === 'token' ? kept.verdict.is : kept.is).replaceAll(' ', '_')
}

it('the picture of the state has the transitions that occur, and no others', async () => {
  const seen = new Set(['[*] --> unread'])
  const watch = (world: World) => {
    const last = new Map<object, string>()
    world.onState = (process, state) => {
      const [from, to] = [last.get(process) ?? 'unread', nameOf(state)]
      if (from !== to) seen.add(`${from} --> ${to}`)
      last.set(process, to)
    }
  }
  const code = await loadCode()
  for (const profile of Object.keys(PROFILES)) {
    for (let seed = 1; seed <= SEEDS; seed++) await run({ code, seed, profile, prepare: watch })
  }
  const lines = [...seen].sort().map((transition) => `  ${transition}\n`)
  if (process.env.DESIGN === 'write') {
    writeFileSync(
      PAGE,
      page.replace(PICTURE, () => `\`\`\`mermaid\nstateDiagram-v2\n${lines.join('')}\`\`\``),
    )
    return
  }
  expect(PICTURE.exec(page)?.[1]).toBe(lines.join(''))
})

it('every rule names tests that there are', () => {
  const rows = [...page.matchAll(/^\| (\d+) \| (`test\/.*) \|$/gm)]
  expect(rows.map(([, rule]) => Number(rule))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
  for (const [, rule, tests = ''] of rows) {
    const named = [...tests.matchAll(/`(test\/[^`]+)`(?: "([^"]*)")?/g)]
    expect(named.length, `rule ${rule}`).toBeGreaterThan(0)
    for (const [, path = '', title] of named) {
      expect(existsSync(path), path).toBe(true)
      if (title) expect(readFileSync(path, 'utf8'), path).toContain(title)
    }
  }
})
