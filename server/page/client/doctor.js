// @ts-check
/** "Check everything": what the service finds out about itself, problems first. */

import { ask, Failure } from './ask.js'
import { button, counted, html, make, say, texts, worded } from './parts.js'

/** @typedef {{ name: string, ok: boolean, message: string, hint?: string }} Check */

const t = texts.doctor
/** It asks Yoto, which may take its time. */
const PATIENCE = 60_000

let isRunning = false
/** Goes up with every lock: what was found before it is not shown. */
let era = 0

async function run() {
  if (isRunning) return
  const before = era
  isRunning = true
  button('doctor-run').setAttribute('aria-disabled', 'true')
  html('doctor-checks').hidden = true
  tell(t.running)
  try {
    /** @type {{ checks: Check[] }} */ const { checks } = await ask('GET', '/api/doctor', undefined, PATIENCE)
    if (before === era) show(checks)
  } catch (error) {
    const { message, hint } = error instanceof Failure ? error : new Failure(-1, 'unexpected', texts.unexpected)
    if (before === era) tell([message, hint].filter(Boolean).join(' '), true)
  } finally {
    isRunning = false
    button('doctor-run').removeAttribute('aria-disabled')
  }
}

/** Heard by those who do not see it: it stands in a status. @param {string} text @param {boolean} [isProblem] */
function tell(text, isProblem = false) {
  const outcome = html('doctor-outcome')
  outcome.hidden = false
  outcome.className = isProblem ? 'note problem' : 'note'
  say(outcome, text)
}

/** @param {Check[]} checks */
function show(checks) {
  const ill = checks.filter(({ ok }) => !ok)
  const well = checks.filter(({ ok }) => ok)
  if (ill.length > 0) tell(counted(t.ill, ill.length), true)
  else tell(counted(t.well, well.length))
  html('doctor-checks').hidden = false
  html('doctor-checks').replaceChildren(...[...ill, ...well].map(item))
}

/** @param {Check} check */
function item({ ok, message, hint }) {
  const text = make('div', {}, make('span', { class: 'unseen' }, `${ok ? t.ok : t.notOk}: `), ...worded(message))
  if (hint) text.append(make('p', { class: 'help' }, ...worded(hint)))
  return make('li', { class: ok ? 'check' : 'check not-ok' }, text)
}

export function wireDoctor() {
  button('doctor-run').addEventListener('click', run)
}

export function forgetDoctor() {
  era += 1
  html('doctor-outcome').hidden = true
  html('doctor-checks').hidden = true
  html('doctor-checks').replaceChildren()
}
