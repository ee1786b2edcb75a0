// @ts-check
/** What the journal's events mean for the picture of them. Pure: no document, no clock, no texts. */

/**
 * @typedef {import('../../keeper/journal').Event} Event
 * @typedef {'sign_in' | 'refresh' | 'failure' | 'sign_out'} MarkKind
 * @typedef {{ from: number, to: number }} Span in milliseconds since 1970
 * @typedef {Span & { kind: MarkKind, times: number, message: string, ends: boolean }} Mark `from` is `to` but where the same thing was
 *   repeated; `ends`: it ended the sign-in
 * @typedef {Span & { since: number, isWhole: boolean, marks: Mark[], signedIn: Span[], gaps: Span[], days: number[],
 *   counts: Record<MarkKind | 'gap', number>, events: Event[] }} Timeline `since`: as far as the events reach; `isWhole`: that is the
 *   whole two weeks; `days`: their midnights; `events`: newest first
 */

const DAY = 86_400_000
const LENGTH = 14 * DAY
/** Where the journal is younger, so that a single event does not stand on an edge. */
const SHORTEST = DAY

/** What an outcome of these kinds means, where it is no failure; undefined: it is not in the picture. */
const GOOD = {
  sign_in: { success: 'sign_in', other_account: 'sign_in', replaced: 'sign_in', begun: undefined },
  refresh: { ok: 'refresh', dropped: undefined },
  sign_out: { ok: 'sign_out', elsewhere: 'sign_out' },
  storage: { saved: undefined, saved_again: undefined },
  stop: { ok: undefined },
}

/**
 * The last two weeks, or as far as the events reach.
 * @param {readonly Event[]} events
 * @param {number} now
 * @param {number} [life] how long a token lives: without a refresh for longer, there is a gap
 * @returns {Timeline}
 */
export function timelineOf(events, now, life = DAY) {
  const dated = events.filter(({ at }) => !Number.isNaN(Date.parse(at)))
  const first = Math.min(now, ...dated.map(({ at }) => Date.parse(at)))
  const since = Math.max(first, now - LENGTH)
  const window = { from: Math.min(since, now - SHORTEST), to: now }
  const all = dated.flatMap(markOf).sort((a, b) => a.from - b.from)
  const signedIn = spansOf(all, now)
  const marks = within(window, all)
  const gaps = within(window, gapsOf(signedIn, all, life))
  const counts = { sign_in: 0, refresh: 0, failure: 0, sign_out: 0, gap: gaps.length }
  for (const { kind, times } of marks) counts[kind] += times
  return {
    ...window,
    since,
    isWhole: first <= now - LENGTH,
    marks,
    signedIn: within(window, signedIn),
    gaps,
    days: midnightsIn(window),
    counts,
    events: dated.filter((event) => endOf(event) >= window.from).reverse(),
  }
}

/** @param {Event} event */
const endOf = ({ at, last_at }) => Math.max(Date.parse(at), Date.parse(last_at ?? '') || 0)

/** @param {Event} event @returns {Mark[]} */
function markOf(event) {
  const { kind, outcome, message, count = 1 } = event
  /** @type {Record<string, string | undefined> | undefined} */
  const known = Object.hasOwn(GOOD, kind) ? GOOD[/** @type {keyof typeof GOOD} */ (kind)] : undefined
  if (!known) return []
  const good = Object.hasOwn(known, outcome)
  const meant = good ? known[outcome] : 'failure'
  if (!meant) return []
  const ends = meant === 'sign_out' || (kind === 'refresh' && outcome === 'refused')
  const mark = /** @type {MarkKind} */ (meant)
  return [{ kind: mark, from: Date.parse(event.at), to: endOf(event), times: count, message, ends }]
}

/** When somebody was signed in, as far as the events tell. @param {Mark[]} marks @param {number} now */
function spansOf(marks, now) {
  /** @type {Span[]} */ const spans = []
  /** @type {number | undefined} */ let since
  for (const { kind, from, ends } of marks) {
    if (kind === 'sign_in' || kind === 'refresh') since ??= from
    if (!ends || since === undefined) continue
    spans.push({ from: since, to: from })
    since = undefined
  }
  if (since !== undefined) spans.push({ from: since, to: now })
  return spans
}

/** When a token had run out and none had come, though somebody was signed in. @param {Span[]} spans @param {Mark[]} marks @param {number} life */
function gapsOf(spans, marks, life) {
  const tokens = marks.filter(({ kind }) => kind === 'sign_in' || kind === 'refresh')
  return spans.flatMap(({ from, to }) => {
    const times = tokens
      .flatMap((mark) => [mark.from, mark.to])
      .filter((time) => time >= from && time <= to)
      .sort((a, b) => a - b)
    const ends = [...times.slice(1), to]
    return times.map((time, at) => ({ from: time + life, to: ends[at] ?? to })).filter((gap) => gap.to > gap.from)
  })
}

/** What is in the window, cut off at its edges. @template {Span} T @param {Span} window @param {T[]} spans @returns {T[]} */
function within(window, spans) {
  const seen = spans.filter(({ from, to }) => to >= window.from && from <= window.to)
  return seen.map((span) => ({ ...span, from: Math.max(span.from, window.from), to: Math.min(span.to, window.to) }))
}

/** In the reader's time zone, where a day may have 23 hours. @param {Span} window */
function midnightsIn({ from, to }) {
  const midnights = []
  const day = new Date(from)
  day.setHours(0, 0, 0, 0)
  for (;;) {
    day.setDate(day.getDate() + 1)
    if (day.getTime() > to) return midnights
    midnights.push(day.getTime())
  }
}
