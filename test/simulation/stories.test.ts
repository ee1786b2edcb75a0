import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { loadCode } from './code'
import { tell } from './story'

// STORIES=write writes down what the stories have led to: to be read before it is kept.

const folder = new URL('stories/', import.meta.url)
const code = await loadCode()

for (const name of readdirSync(folder).sort()) {
  it(name, async () => {
    const file = new URL(name, folder)
    const before = readFileSync(file, 'utf8')
    const { text, violations } = await tell(before, code)
    if (process.env.STORIES === 'write') writeFileSync(file, text)
    else expect(text).toBe(before)
    expect(violations).toEqual([])
  })
}
