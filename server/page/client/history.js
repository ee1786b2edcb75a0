// @ts-check
/** The journal as a picture, and as a table for those who read rather than look. */

import { ask, now } from './ask.js'
import { counted, dated, filled, html, inOwnTime, make, monthOf, say, texts } from './parts.js'
import { timelineOf } from './timeline.js'

/**
 * @typedef {import('./timeline.js').Timeline} Timeline
 * @typedef {import('./timeline.js').Mark} Mark
 * @typedef {import('../../keeper/journal').Event} Event
 */

const t = texts.history
const REFRESH_AFTER = 60_000

// ---- When it is asked for

/** Of what it was asked last, and when. */
let asked = ''
let askedAt = Number.NEGATIVE_INFINITY
/** Goes up with every lock: an answer asked for before it is not shown. */
let era = 0
let shown = ''

/** Asks for the journal where something has changed since, or every minute. @param {string} state anything that changes with the state */
export async function keepHistory(state) {
  if (document.hidden || (state === asked && performance.now() - askedAt < REFRESH_AFTER)) return
  asked = state
  askedAt = performance.now()
  const before = era
  try {
    /** @type {{ events: Event[] }} */ const { events } = await ask('GET', '/api/journal')
    if (before === era) show(events)
  } catch {
    // Why is told by the state. What was shown before still is true.
    if (before !== era || shown !== '') return
    html('history').hidden = false
    html('history-details').hidden = true
    say(html('timeline'), t.unreadable)
  }
}

export function forgetHistory() {
  era += 1
  asked = ''
  shown = ''
  html('history').hidden = true
  html('timeline').replaceChildren()
  html('history-rows').replaceChildren()
}

/** @param {Event[]} events */
function show(events) {
  html('history').hidden = events.length === 0
  html('history-details').hidden = false
  if (events.length === 0) return
  const timeline = timelineOf(events, now())
  html('timeline').replaceChildren(...picture(timeline))
  const table = JSON.stringify(timeline.events)
  if (table === shown) return // a reader may be in the middle of it
  shown = table
  say(html('history-caption'), t.table)
  html('history-rows').replaceChildren(...timeline.events.map(row))
}

// ---- The table

/** @param {Event} event */
function row({ at, kind, message, count, last_at }) {
  const repeats = count && last_at ? filled(t.times, { n: count, date: dated(Date.parse(last_at)) }) : ''
  return make(
    'tr',
    {},
    make('th', { scope: 'row' }, make('time', { datetime: at }, dated(Date.parse(at)))),
    make(
      'td',
      {},
      make('strong', {}, t.kinds[kind] ?? kind),
      ` ${inOwnTime(message)}`,
      ...(repeats ? [' ', make('span', { class: 'aside' }, repeats)] : []),
    ),
  )
}

// ---- The picture: places along it in per cent, so that it fits any width without its letters shrinking

const SVG = 'http://www.w3.org/2000/svg'
/** Where things stand from top to bottom. */
const Y = { top: 4, signIn: 14, bar: 32, barHeight: 16, failure: 66, bottom: 78, day: 94, month: 110 }
const HEIGHT = 116

/** Shapes around their own middle: a kind is told by its form as well as by its colour. */
const SHAPES = {
  sign_in: 'M0-7 7 0 0 7-7 0z',
  sign_out: 'M-5-5h10v10h-10z',
  refresh: 'M-1-6h2V6h-2z',
  failure: 'M-5-5 5 5M5-5-5 5',
  gap: 'M-10-6h20V6h-20z',
}
/** @typedef {keyof typeof SHAPES} Shape */

/** @param {Timeline} timeline @returns {Element[]} */
function picture(timeline) {
  const { from, to, since, isWhole, marks, signedIn, gaps, days, counts } = timeline
  const x = (/** @type {number} */ time) => (100 * (time - from)) / (to - from)
  const range = isWhole ? t.twoWeeks : filled(t.since, { date: dated(since) })
  const kinds = /** @type {Shape[]} */ (Object.keys(counts))
  const told = kinds.filter((kind) => counts[kind] > 0).map((kind) => counted(t.counts[kind], counts[kind]))

  const svg = draw('svg', {
    class: 'timeline',
    role: 'img',
    'aria-label': `${range}: ${told.join(', ') || t.nothing}.`,
    height: HEIGHT,
  })
  svg.append(
    hatching(),
    ...days.map((day) => draw('line', { class: 'day', ...column(x(day)), y1: Y.top, y2: Y.bottom })),
    ...dayNames(timeline, x),
    band('track', 0, 100),
    ...signedIn.map((span) => band('signed-in', x(span.from), x(span.to))),
    ...gaps.map((gap) =>
      titled(band('gap', x(gap.from), x(gap.to)), filled(t.gap, { from: dated(gap.from), to: dated(gap.to) })),
    ),
    ...marks.filter(({ from, to }) => to > from).map((mark) => repeats(mark, x)),
    ...marks.map((mark) => markAt(mark, x(mark.from))),
    draw('line', { class: 'now', ...column(100), y1: Y.top, y2: Y.bottom + 4 }),
    label('now-name', 100, Y.month, t.now, 'end'),
  )
  return [make('p', { class: 'help' }, range), svg, legend(kinds, counts)]
}

/** @param {number} x */
const column = (x) => ({ x1: `${x}%`, x2: `${x}%` })

/** @param {Mark} mark */
const heightOf = ({ kind }) => {
  if (kind === 'failure') return Y.failure
  return kind === 'refresh' ? Y.bar + Y.barHeight / 2 : Y.signIn
}

/** @param {Mark} mark @param {number} x */
function markAt(mark, x) {
  const place = draw('svg', { x: `${x}%`, y: heightOf(mark), overflow: 'visible' })
  place.append(shape(mark.kind))
  return titled(place, `${dated(mark.from)}: ${inOwnTime(mark.message)}`)
}

/** A line to the last of the same. @param {Mark} mark @param {(time: number) => number} x */
function repeats(mark, x) {
  const y = heightOf(mark)
  return draw('line', { class: `${mark.kind} again`, x1: `${x(mark.from)}%`, x2: `${x(mark.to)}%`, y1: y, y2: y })
}

/** @param {Shape} kind */
const shape = (kind) => draw('path', { class: kind, d: SHAPES[kind] })

/** @param {string} name @param {number} from @param {number} to */
function band(name, from, to) {
  const width = Math.max(to - from, 0.4)
  return draw('rect', { class: name, x: `${from}%`, width: `${width}%`, y: Y.bar, height: Y.barHeight, rx: 3 })
}

/** @param {Timeline} timeline @param {(time: number) => number} x */
function dayNames({ from, to, days }, x) {
  const names = [from, ...days].map((begin, at) => {
    const middle = (Math.max(begin, from) + Math.min(days[at] ?? Number.POSITIVE_INFINITY, to)) / 2
    const isRoomy = (days[at] ?? to) - begin > (to - from) / 22
    return isRoomy
      ? label(at % 2 ? 'day-name odd' : 'day-name', x(middle), Y.day, String(new Date(begin).getDate()))
      : ''
  })
  const turn = days.find((day) => new Date(day).getDate() === 1)
  const months = [label('month', 0, Y.month, monthOf(from), 'start')]
  // Not where it would stand on the other one, or on "now".
  if (turn && x(turn) > 15 && x(turn) < 80) months.push(label('month', x(turn), Y.month, monthOf(turn), 'start'))
  return [...names.filter((name) => name !== ''), ...months]
}

/** @param {string} name @param {number} x @param {number} y @param {string} text @param {'start' | 'middle' | 'end'} anchor */
function label(name, x, y, text, anchor = 'middle') {
  const node = draw('text', { class: name, x: `${x}%`, y, 'text-anchor': anchor })
  node.textContent = text
  return node
}

/** Of gaps. Its address is the page's own, so that it is found. */
function hatching() {
  const pattern = draw('pattern', {
    ...{ id: 'hatching', width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
  })
  pattern.append(draw('rect', { class: 'hatch', width: 3, height: 6 }))
  const defs = draw('defs', {})
  defs.append(pattern)
  return defs
}

/** @param {Shape[]} kinds @param {Timeline['counts']} counts */
function legend(kinds, counts) {
  // What it says, the picture's own name says as well.
  const list = make('ul', { class: 'legend', 'aria-hidden': 'true' })
  for (const kind of kinds) {
    if (counts[kind] === 0 && (kind === 'gap' || kind === 'sign_out')) continue
    const sample = draw('svg', { width: 20, height: 14, viewBox: '-10 -7 20 14' })
    sample.append(shape(kind))
    const item = make('li')
    item.append(sample, counted(t.counts[kind], counts[kind]))
    list.append(item)
  }
  return list
}

/** What a pointer that rests on it is told. @param {Element} node @param {string} text */
function titled(node, text) {
  const title = draw('title', {})
  title.textContent = text
  node.append(title)
  return node
}

/** @param {string} tag @param {Record<string, string | number>} attributes */
function draw(tag, attributes) {
  const node = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value))
  return node
}
