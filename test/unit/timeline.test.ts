import { describe, expect, it } from 'vitest'
import type { Event } from '../../server/keeper/journal'
import { timelineOf } from '../../server/page/client/timeline.js'

// The reader's zone; its clocks go back on 25 October 2026.
process.env.TZ = 'Europe/Berlin'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const NOW = Date.parse('2026-11-20T12:00:00Z')

/** An event so many hours ago. */
function ago(hours: number, kind: Event['kind'], outcome: string, more: Partial<Event> = {}): Event {
  return { at: new Date(NOW - hours * HOUR).toISOString(), kind, outcome, message: `${kind} ${outcome}`, ...more }
}
const hoursAgo = (time: number) => (NOW - time) / HOUR
const spans = (list: readonly { from: number; to: number }[]) =>
  list.map(({ from, to }) => [hoursAgo(from), hoursAgo(to)])
const marks = (events: Event[]) => timelineOf(events, NOW).marks.map(({ kind, from }) => [kind, hoursAgo(from)])
const everyTwelveHours = (from: number, to: number) =>
  Array.from({ length: (from - to) / 12 + 1 }, (_, at) => ago(from - at * 12, 'refresh', 'ok'))

describe('the window', () => {
  it('is the last two weeks, and leaves out what was before', () => {
    const events = [ago(20 * 24, 'sign_in', 'success'), ago(15 * 24, 'refresh', 'ok'), ago(24, 'refresh', 'ok')]
    const timeline = timelineOf(events, NOW)
    expect(timeline).toMatchObject({ from: NOW - 14 * DAY, to: NOW, since: NOW - 14 * DAY, isWhole: true })
    expect(timeline.counts).toMatchObject({ sign_in: 0, refresh: 1 })
    expect(timeline.events).toEqual([events[2]])
  })

  it('reaches as far as the journal, and is a day at least', () => {
    expect(timelineOf([ago(60, 'start', 'ok')], NOW)).toMatchObject({ from: NOW - 60 * HOUR, isWhole: false })
    const young = timelineOf([ago(2, 'start', 'ok')], NOW)
    expect(young).toMatchObject({ from: NOW - DAY, since: NOW - 2 * HOUR, isWhole: false })
    expect(timelineOf([], NOW)).toMatchObject({ from: NOW - DAY, since: NOW, marks: [], signedIn: [], gaps: [] })
  })

  it('has the midnights of the reader’s zone, and an hour more where clocks go back', () => {
    const { days } = timelineOf([ago(3 * 24, 'start', 'ok')], NOW)
    expect(days.map((day) => new Date(day).toISOString())).toEqual([
      '2026-11-17T23:00:00.000Z',
      '2026-11-18T23:00:00.000Z',
      '2026-11-19T23:00:00.000Z',
    ])
    const autumn = Date.parse('2026-10-26T12:00:00Z')
    const [before, after] = timelineOf([], autumn, DAY).days.concat(timelineOf([], autumn - DAY, DAY).days)
    expect(Number(before) - Number(after)).toBe(25 * HOUR)
  })

  it('shows what is repeated from before the window on from its edge', () => {
    const event = ago(15 * 24, 'refresh', 'not_sent', { count: 400, last_at: new Date(NOW - 13 * DAY).toISOString() })
    const [mark] = timelineOf([event], NOW).marks
    expect(mark).toMatchObject({ kind: 'failure', times: 400, from: NOW - 14 * DAY, to: NOW - 13 * DAY })
    expect(timelineOf([event], NOW).events).toEqual([event])
  })
})

describe('a mark', () => {
  it.each([
    ['sign_in', 'success', 'sign_in'],
    ['sign_in', 'other_account', 'sign_in'],
    ['sign_in', 'replaced', 'sign_in'],
    ['sign_in', 'access_denied', 'failure'],
    ['sign_in', 'expired', 'failure'],
    ['refresh', 'ok', 'refresh'],
    ...['refused', 'misconfigured', 'not_now', 'not_sent', 'unknown'].map((outcome) => ['refresh', outcome, 'failure']),
    ['sign_out', 'ok', 'sign_out'],
    ['sign_out', 'elsewhere', 'sign_out'],
    ['storage', 'not_saved', 'failure'],
    ['stop', 'not_saved', 'failure'],
  ])('of %s %s is a %s', (kind, outcome, mark) => {
    expect(marks([ago(5, kind as Event['kind'], outcome)])).toEqual([[mark, 5]])
  })

  it.each([
    ['start', 'ok'],
    ['sign_in', 'begun'],
    ['refresh', 'dropped'],
    ['storage', 'saved'],
    ['access', 'refused'],
    ['notice', 'failed'],
  ])('is not made of %s %s, which only the table has', (kind, outcome) => {
    const event = ago(5, kind as Event['kind'], outcome)
    expect(marks([event])).toEqual([])
    expect(timelineOf([event], NOW).events).toEqual([event])
  })

  it('counts repeats, and stands in the order of time', () => {
    const repeated = ago(9, 'refresh', 'not_sent', { count: 7, last_at: new Date(NOW - 8 * HOUR).toISOString() })
    const timeline = timelineOf([ago(4, 'refresh', 'ok'), repeated, ago(20, 'sign_in', 'success')], NOW)
    expect(timeline.marks.map(({ kind }) => kind)).toEqual(['sign_in', 'failure', 'refresh'])
    expect(timeline.counts).toEqual({ sign_in: 1, refresh: 1, failure: 7, sign_out: 0, gap: 0 })
  })

  it('is not made of what has no date', () => {
    expect(timelineOf([{ ...ago(1, 'refresh', 'ok'), at: 'yesterday' }], NOW)).toMatchObject({ marks: [], events: [] })
  })
})

describe('the bar', () => {
  it('reaches from the sign-in to the sign-out, or to now', () => {
    const events = [ago(90, 'sign_in', 'success'), ago(80, 'sign_out', 'ok'), ago(10, 'sign_in', 'success')]
    expect(spans(timelineOf(events, NOW).signedIn)).toEqual([
      [90, 80],
      [10, 0],
    ])
  })

  it('ends where Yoto refuses, and not where it cannot be reached', () => {
    const events = [ago(30, 'sign_in', 'success'), ago(20, 'refresh', 'not_sent'), ago(10, 'refresh', 'refused')]
    expect(spans(timelineOf(events, NOW).signedIn)).toEqual([[30, 10]])
  })

  it('begins at a refresh where the sign-in is no longer in the journal', () => {
    expect(spans(timelineOf(everyTwelveHours(48, 12), NOW).signedIn)).toEqual([[48, 0]])
  })
})

describe('a gap', () => {
  it('is where a token has run out and no other came', () => {
    const events = [...everyTwelveHours(240, 180), ...everyTwelveHours(96, 0)]
    expect(spans(timelineOf(events, NOW).gaps)).toEqual([[156, 96]])
    expect(timelineOf(events, NOW).counts.gap).toBe(1)
  })

  it('reaches to now where nothing has come since', () => {
    expect(spans(timelineOf(everyTwelveHours(120, 72), NOW).gaps)).toEqual([[48, 0]])
  })

  it('is none while nobody is signed in, nor as long as the token lives', () => {
    expect(timelineOf([ago(200, 'sign_in', 'success'), ago(190, 'sign_out', 'ok')], NOW).gaps).toEqual([])
    expect(timelineOf([ago(24, 'sign_in', 'success')], NOW).gaps).toEqual([])
    expect(spans(timelineOf([ago(24, 'sign_in', 'success')], NOW, HOUR).gaps)).toEqual([[23, 0]])
  })

  it('does not begin before the window', () => {
    expect(spans(timelineOf([ago(500, 'sign_in', 'success')], NOW).gaps)).toEqual([[14 * 24, 0]])
  })
})
