import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createJournal } from '../../server/keeper/journal'
import { heartbeatFile } from '../../storage/leases/heartbeat-file'
import { durableFiles } from '../../storage/stores/durable-files'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'journal-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const open = (print: (line: string) => void = () => {}) => {
  return createJournal(durableFiles(dir), heartbeatFile(dir, '.yoto_journal_lease'), print)
}

describe('the journal', () => {
  it('keeps the last 500 events, before and after they are written', async () => {
    const journal = open()
    for (let i = 0; i < 700; i++) journal.add('refresh', 'ok', `number ${i}`)
    for (const events of [await journal.read(), await journal.flush().then(journal.read), await open().read()]) {
      expect(events).toHaveLength(500)
      expect([events[0]?.message, events[499]?.message]).toEqual(['number 200', 'number 699'])
    }
  })

  it('counts repeats, also those of an event that is written already', async () => {
    const journal = open()
    for (let i = 0; i < 3; i++) journal.add('refresh', 'not_sent', 'Yoto cannot be reached.')
    await journal.flush()
    journal.add('refresh', 'not_sent', 'Yoto cannot be reached.')
    journal.add('refresh', 'ok', 'Refreshed.')
    await journal.flush()
    const events = await open().read()
    expect(events.map(({ outcome, count }) => [outcome, count])).toEqual([
      ['not_sent', 4],
      ['ok', undefined],
    ])
    expect(Date.parse(events[0]?.last_at ?? '')).toBeGreaterThanOrEqual(Date.parse(events[0]?.at ?? ''))
  })

  it('counts calls, one event a day for each tool, unprinted, in whatever order they come', async () => {
    const lines: string[] = []
    const journal = open((line) => lines.push(line))
    const ask = (tool: string) => journal.count('access', 'tool', `${tool} asked.`)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.parse('2026-11-01T00:00:00Z') })
    for (const tool of ['one', 'two', 'one']) ask(tool)
    await journal.flush()
    journal.add('refresh', 'ok', 'Refreshed.')
    vi.setSystemTime('2026-11-01T23:00:00Z')
    ask('one')
    vi.setSystemTime('2026-11-02T00:00:00Z')
    ask('one')
    ask('two')
    await journal.flush()
    vi.useRealTimers()
    const events = (await open().read()).map(({ at, message, count, last_at }) => [message, count, at, last_at])
    const [first, late, next] = ['2026-11-01T00:00:00.000Z', '2026-11-01T23:00:00.000Z', '2026-11-02T00:00:00.000Z']
    expect(events).toEqual([
      ['one asked.', 3, first, late],
      ['two asked.', undefined, first, undefined],
      ['Refreshed.', undefined, first, undefined],
      ['one asked.', undefined, next, undefined],
      ['two asked.', undefined, next, undefined],
    ])
    expect(lines).toEqual(['refresh ok: Refreshed.'])
  })

  it('loses nothing to another instance that writes as well', async () => {
    const [one, other] = [open(), open()]
    one.add('sign_in', 'begun', 'by one')
    other.add('sign_out', 'ok', 'by the other')
    await one.flush()
    await other.flush()
    expect((await open().read()).map((event) => event.message)).toEqual(['by one', 'by the other'])
  })

  it('shows every event once to whoever reads while it is written, before and after', async () => {
    const store = durableFiles(dir)
    let go = () => {}
    const slowly = (work: () => Promise<void>) => new Promise<void>((resolve) => (go = resolve)).then(work)
    const slow = {
      read: async (key: string) => {
        const value = await store.read(key)
        await slowly(async () => {})
        return value
      },
      write: (key: string, value: string) => slowly(() => store.write(key, value)),
    }
    const journal = createJournal({ ...store, ...slow }, heartbeatFile(dir, '.yoto_journal_lease'), () => {})
    journal.add('start', 'ok', 'An event.')
    const reads = [journal.read()]
    const flushed = journal.flush()
    reads.push(journal.read())
    const pace = setInterval(() => go(), 1)
    reads.push(flushed.then(() => journal.read()))
    for (const events of await Promise.all(reads))
      expect(events.map(({ message, count }) => [message, count])).toEqual([['An event.', undefined]])
    clearInterval(pace)
  })

  it('prints at once and never throws, even if it cannot be written', async () => {
    rmSync(dir, { recursive: true })
    const lines: string[] = []
    const journal = open((line) => lines.push(line))
    journal.add('storage', 'unavailable', 'The folder is gone.')
    expect(lines).toEqual(['storage unavailable: The folder is gone.'])
    await journal.flush()
  })
})
