// @ts-check
/** What every part of the page uses: its texts, its elements, its dates, its way to copy. */

/** @typedef {import('../texts').ScriptTexts} Texts */

/** @type {Texts} */
export const texts = JSON.parse(document.getElementById('texts')?.textContent ?? '')

/** The reader's own kind of the page's language; some systems have names for it that browsers refuse, such as en-US@posix. */
const ownKind = new RegExp(`^${texts.language}(-[A-Z]{2})?$`)
const locale = navigator.languages.find((name) => ownKind.test(name)) ?? texts.locale

// ---- Words

/** Puts values where a text has their names in braces. @param {string} text @param {Record<string, string | number>} values */
export function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole))
}

const plurals = new Intl.PluralRules(locale)

/** @param {{ one: string, other: string }} forms @param {number} n */
export function counted(forms, n) {
  return filled(plurals.select(n) === 'one' ? forms.one : forms.other, { n: n.toLocaleString(locale) })
}

// ---- Elements

/** @template {Element} T @param {string} id @param {new () => T} type @returns {T} */
export function element(id, type) {
  const found = document.getElementById(id)
  if (found instanceof type) return found
  throw new TypeError(`#${id}`)
}

/** @param {string} id */
export const button = (id) => element(id, HTMLButtonElement)
/** @param {string} id */
export const html = (id) => element(id, HTMLElement)

/** Changes a text only where it is another: what is live is not read out again. @param {Element} node @param {string} text */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} content
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...content) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  node.append(...content)
  return node
}

/** A message of the service's, in which a command stands between backticks. @param {string} text @returns {(string | HTMLElement)[]} */
export function worded(text) {
  return text.split('`').map((part, at) => (at % 2 ? make('code', {}, part) : part))
}

// ---- Dates, in the reader's time zone

const moments = new Intl.DateTimeFormat(locale, {
  weekday: 'short',
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
})
const months = new Intl.DateTimeFormat(locale, { month: 'short' })
const distances = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' })

/** @param {number} time */
export const dated = (time) => moments.format(time)
/** A message of the service's, with the times in it as the reader has them. @param {string} message */
export const inOwnTime = (message) => message.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (iso) => dated(Date.parse(iso)))
/** @param {number} time */
export const monthOf = (time) => months.format(time)

/** How far away something is, as people say it. @param {number} milliseconds */
export function distance(milliseconds) {
  const minutes = Math.round(milliseconds / 60_000)
  if (Math.abs(minutes) < 90) return distances.format(minutes, 'minute')
  const hours = Math.round(milliseconds / 3_600_000)
  return Math.abs(hours) < 48 ? distances.format(hours, 'hour') : distances.format(Math.round(hours / 24), 'day')
}

// ---- Copying

/**
 * @param {HTMLButtonElement} trigger
 * @param {string} text
 * @param {() => HTMLElement} shown where it stands, to be selected if nothing else helps
 */
export async function copy(trigger, text, shown) {
  flash(trigger, (await toClipboard(text)) ? texts.copied : texts.copyByHand)
  if (trigger.textContent === texts.copyByHand) window.getSelection()?.selectAllChildren(shown())
}

/** Without https browsers have no clipboard for pages, but most still copy what is selected. @param {string} text */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const area = make('textarea', { class: 'unseen', readonly: '' }, text)
    const focused = document.activeElement
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    if (focused instanceof HTMLElement) focused.focus()
    return done
  }
}

/** A button says for a moment what it did. @param {HTMLButtonElement} trigger @param {string} text */
export function flash(trigger, text) {
  const announcement = html('announcement')
  trigger.dataset.label ??= trigger.textContent ?? ''
  say(trigger, text)
  say(announcement, text)
  window.setTimeout(() => {
    say(trigger, trigger.dataset.label ?? '')
    say(announcement, '')
  }, 2500)
}
