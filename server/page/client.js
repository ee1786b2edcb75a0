// @ts-check
/**
 * The page's script: asks the service for its state and shows it. It never sees a Yoto token.
 *
 * One loop (`tick`) asks; `render` alone decides what is shown; buttons go through `act`.
 */

import { ask, Failure, now } from './client/ask.js'
import { forgetDoctor, wireDoctor } from './client/doctor.js'
import { forgetHistory, keepHistory } from './client/history.js'
import { button, copy, dated, distance, element, flash, html, make, say, texts, worded } from './client/parts.js'
import { forgetKey, holdKey, wireUseIt } from './client/use-it.js'

/**
 * @typedef {'signed_in' | 'signed_out' | 'needs_sign_in' | 'not_configured'} State
 * @typedef {keyof typeof texts.views} View
 * @typedef {{ device_code: string, user_code: string, verification_uri: string, verification_uri_complete: string, qr: string,
 *   expires_at: string, interval: number }} StoredLogin
 * @typedef {{ authenticated: boolean, message: string, state: State, unattended: boolean, problem?: keyof typeof texts.problems,
 *   login?: StoredLogin, expires_at?: string, refresh_at?: string, scope?: string, account?: string, hint?: string,
 *   redirect_uri?: string, storage?: { place: string, persistent: boolean, warning?: string } }} Status
 * @typedef {Omit<StoredLogin, 'expires_at' | 'interval' | 'qr'> & { expires_in: number }} StartedLogin
 * @typedef {{ status: 'pending' | 'success' | 'expired' | 'error', message: string, error?: string }} PollAnswer
 * @typedef {{ handle: string, code: string, address: string, link: string, qr: string, endsAt: number,
 *   message: string }} Login
 */

/** What is known. Only `render` turns it into what is seen. */
const known = {
  /** @type {Status | undefined} */ status: undefined,
  /** @type {Login | undefined} */ login: undefined,
  /** Why no status is known: locked, a refusal, or silence. @type {Failure | undefined} */ failure: undefined,
  /** What went wrong with the last button. @type {Failure | undefined} */ complaint: undefined,
  /** How the last sign-in ended, if badly, or another remark. */ result: '',
  /** The remark is about a visit to Yoto, and so is shown whatever the state is. */ returned: false,
  /** Handles of sign-ins that this page has left behind. @type {Set<string>} */ left: new Set(),
}

const main = /** @type {HTMLElement} */ (document.querySelector('main'))
const heading = html('view-name')
const keyInput = element('key', HTMLInputElement)
const dialog = element('sign-out-dialog', HTMLDialogElement)

// ---- What the service says

/** @param {Status} status */
function learn(status) {
  if (!Object.hasOwn(texts.views, status?.state)) throw new Failure(-1, 'unexpected', texts.unexpected)
  known.status = status
  known.failure = undefined
  const open = status.login
  // A sign-in from before a reload, or from another tab. Where somebody is signed in, an old one is not worth showing.
  if (open && !known.login && status.state !== 'signed_in' && !known.left.has(open.device_code)) {
    known.login = toLogin(open, Date.parse(open.expires_at))
  }
}

/** @param {StoredLogin | StartedLogin} login @param {number} endsAt @returns {Login} */
function toLogin(login, endsAt) {
  return {
    handle: login.device_code,
    code: login.user_code,
    address: login.verification_uri,
    link: safeLink(login.verification_uri_complete) || safeLink(login.verification_uri),
    qr: 'qr' in login ? login.qr : '',
    endsAt,
    message: '',
  }
}

/** The address if it may become a link, or nothing. @param {string | undefined} address */
function safeLink(address) {
  if (!address || !URL.canParse(address)) return ''
  const { protocol, hostname, href } = new URL(address)
  const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
  return protocol === 'https:' || (protocol === 'http:' && loopback) ? href : ''
}

/** @param {Login} login */
async function poll(login) {
  /** @type {PollAnswer} */ let answer
  try {
    answer = await ask('POST', '/api/auth/poll', { device_code: login.handle })
  } catch (error) {
    // The service does not know this sign-in (any more): it has ended. Anything else may pass.
    if (!(error instanceof Failure && [400, 404].includes(error.status))) throw error
    answer = { status: 'error', message: error.message }
  }
  return answer
}

/** @param {PollAnswer} answer */
function learnOutcome(answer) {
  known.failure = undefined
  if (!known.login) return
  if (answer.status === 'pending') {
    known.login.message = answer.message ?? ''
    return
  }
  leaveLogin()
  if (answer.status !== 'success') {
    known.result = `${answer.message || texts.ended[answer.status]} ${nextStep(answer)}`
  } else if (answer.message !== texts.signedInPlainly) {
    known.result = answer.message // to another account than before
  }
}

/** @param {PollAnswer} answer */
function nextStep({ status, error }) {
  if (error === 'access_denied') return texts.next.access_denied
  return status === 'expired' ? texts.next.expired : texts.next.error
}

function leaveLogin() {
  if (known.login) known.left.add(known.login.handle)
  known.login = undefined
}

// ---- The loop

let timer = 0
let failures = 0
/** Goes up with every button: an answer asked for before it is out of date. */
let era = 0
let asking = false

async function tick() {
  window.clearTimeout(timer)
  if (asking || busy) return
  asking = true
  const asked = era
  try {
    const login = known.login
    if (login && known.status) {
      const outcome = await poll(login)
      if (asked === era) learnOutcome(outcome)
    }
    // Not while a sign-in is open: the poll says all there is to know.
    if (asked === era && !(known.login && known.status)) {
      const status = /** @type {Status} */ (await ask('GET', '/api/auth/status'))
      if (asked === era) learn(status)
    }
    failures = 0
  } catch (error) {
    if (asked === era) learnFailure(error)
  } finally {
    asking = false
  }
  if (asked === era) render()
  window.clearTimeout(timer)
  timer = window.setTimeout(tick, asked === era ? pause() : 0)
}

/** @param {unknown} error */
function learnFailure(error) {
  const failure = error instanceof Failure ? error : new Failure(-1, 'unexpected', texts.unexpected)
  failures += 1
  if (failure.status === 401) {
    known.status = undefined
    known.login = undefined
  }
  // One lost request is no news; the second is.
  if (failure.status === 0 && failures < 2 && known.status) return
  known.failure = failure
}

function pause() {
  if (failures > 0) return Math.min(1000 * failures, 5000)
  if (known.login) return document.hidden ? 5000 : 2000
  return document.hidden ? 60_000 : 5000
}

// ---- Showing

/** @returns {View} */
function currentView() {
  if (known.failure) {
    if (known.failure.status === 401) return 'locked'
    if (known.failure.code === 'not_configured') return 'not_configured'
    if (known.failure.status === 0 || !known.status) return 'unreachable'
  }
  if (known.login) return 'signing_in'
  return known.status?.state ?? 'unreachable'
}

/** @param {boolean} [moved] whether the visitor asked for what comes now */
function render(moved = false) {
  const view = currentView()
  const changed = main.dataset.view !== view
  const { status, failure, login } = known
  if (changed) {
    if (!moved) known.complaint = undefined
    if (view === 'signed_in' && main.dataset.view !== 'signing_in' && !moved && !known.returned) known.result = ''
    const focused = document.activeElement
    // By the link nobody has moved yet.
    const isMove = moved && main.dataset.view !== 'loading'
    main.dataset.view = view
    for (const part of main.querySelectorAll('[data-for]')) {
      part.toggleAttribute('hidden', !part.getAttribute('data-for')?.split(' ').includes(view))
    }
    say(heading, texts.views[view])
    document.title = `${texts.views[view]} · ${texts.app}`
    html('unlocked').hidden = view === 'locked' || view === 'unreachable'
    if (view !== 'signed_in') dialog.close()
    const isLost = focused !== document.body && focused?.getClientRects().length === 0
    if (view === 'locked') keyInput.focus()
    else if (isMove || isLost) heading.focus()
  }

  say(html('sentence'), sentence(view))
  const result = html('login-result')
  result.hidden = !known.result || (!known.returned && (view === 'locked' || view === 'unreachable'))
  say(result, known.result)
  showProblem(view)

  // Any other fault of the set-up is told by the service itself.
  html('client-id').hidden = view !== 'not_configured' || Boolean(failure)
  html('one-click').hidden = !status?.redirect_uri
  say(html('redirect-uri'), status?.redirect_uri ?? '')
  html('doctor').hidden = !status
  if (view === 'signing_in' && login) showLogin(login)
  if (view === 'signed_in' && status) showSignedIn(status)
  if (view === 'locked') forgetAll()
  if (status && ['signed_in', 'signed_out', 'needs_sign_in'].includes(view)) {
    void keepHistory([status.state, status.problem, status.expires_at, known.result].join())
  }
}

/** What only the owner may see, and what was typed: a locked page does not have it. */
function forgetAll() {
  forgetHistory()
  forgetDoctor()
  forgetKey()
}

/** @param {View} view */
function sentence(view) {
  if (view === 'locked') return texts.locked
  if (view === 'signing_in') return hasRunOut() ? texts.ranOut : texts.signingIn
  if (view === 'unreachable' || !known.status) return known.failure?.message ?? texts.unreachable
  return (known.failure?.code === 'not_configured' && known.failure.message) || known.status.message
}

/** @param {View} view */
function showProblem(view) {
  const { status, failure, complaint } = known
  /** @type {(string | undefined)[]} */ const lines = []
  const said = sentence(view)
  if (complaint) lines.push(said.includes(complaint.message) ? undefined : complaint.message)
  // How to show a key is a program's to know, and stands below the field for people.
  if (complaint?.status !== 401) lines.push(complaint?.hint)
  if (failure && view !== 'locked') {
    if (failure.message !== said) lines.push(failure.message)
    lines.push(failure.hint)
  } else if (status && view !== 'locked') {
    if (status.problem) lines.push(texts.problems[status.problem])
    // What to do about a missing client id stands below, step by step.
    const hint = view === 'not_configured' ? undefined : status.hint
    const told = hint ?? status.storage?.warning
    if (status.storage?.warning && !said.includes(status.storage.warning)) lines.push(status.storage.warning)
    lines.push(hint, told || !status.problem ? undefined : texts.mends[status.problem])
  }
  const shown = [...new Set(lines.filter((line) => line))].map(String)
  const box = html('problem')
  box.hidden = shown.length === 0
  main.toggleAttribute('data-problem', shown.length > 0)
  if (shown.join('\n') === box.dataset.lines) return
  box.dataset.lines = shown.join('\n')
  box.replaceChildren(...shown.map((line) => make('p', {}, ...worded(line))))
}

/** @param {Login} login */
function showLogin(login) {
  say(html('user-code'), login.code)
  say(html('verification-address'), login.address)
  say(html('poll-message'), login.message)
  say(html('advice'), known.status?.unattended ? texts.mayClose : texts.keepOpen)
  html('elsewhere').hidden = !login.address
  const link = element('verification-link', HTMLAnchorElement)
  link.hidden = !login.link
  if (login.link) link.href = login.link
  html('scan').hidden = !login.qr
  if (login.qr) element('qr', HTMLImageElement).src = login.qr
  say(html('back'), known.status?.redirect_uri ? texts.oneClickInstead : texts.back)
  const good = html('good-code')
  if (hasRunOut() && good.contains(document.activeElement)) heading.focus()
  good.hidden = hasRunOut()
  showCountdown()
}

function showCountdown() {
  if (!known.login) return
  const left = Math.max(0, Math.ceil((known.login.endsAt - now()) / 1000))
  say(html('countdown'), `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`)
}

/** Until the service says so itself, and what to do then. */
const hasRunOut = () => known.login !== undefined && known.login.endsAt <= now()

/** @param {Status} status */
function showSignedIn(status) {
  fill(html('account'), status.account)
  showTime(element('expires-at', HTMLTimeElement), status.expires_at)
  showTime(element('refresh-at', HTMLTimeElement), status.refresh_at, texts.due)
  fill(html('storage-place'), status.storage?.place)
  say(html('storage-fate'), fateOf(status))
}

/** @param {Status} status */
function fateOf({ problem, storage }) {
  if (problem === 'not_saved') return texts.notThereYet
  return storage?.persistent ? texts.survives : texts.perishes
}

/** A line of the list, or no line. @param {HTMLElement} node @param {string | undefined} text */
function fill(node, text) {
  say(node, text ?? '')
  node.closest('div')?.toggleAttribute('hidden', !text)
}

/** @param {HTMLTimeElement} node @param {string | undefined} iso @param {string} [past] what to say once it is past */
function showTime(node, iso, past) {
  const time = Date.parse(iso ?? '')
  node.closest('div')?.toggleAttribute('hidden', Number.isNaN(time))
  if (Number.isNaN(time)) return
  const left = time - now()
  node.dateTime = new Date(time).toISOString()
  const aside = node.querySelector('.aside') ?? make('span', { class: 'aside' })
  say(aside, past && left <= 30_000 ? past : distance(left))
  const text = `${dated(time)} `
  if (node.firstChild?.textContent !== text) node.replaceChildren(text, aside)
}

// ---- Buttons

let busy = false

/**
 * Does one thing that the visitor asked for, then shows what came of it.
 * @param {HTMLButtonElement} trigger
 * @param {() => Promise<void>} work
 */
async function act(trigger, work) {
  if (busy) return
  busy = true
  era += 1
  trigger.setAttribute('aria-disabled', 'true')
  known.complaint = undefined
  known.result = ''
  known.returned = false
  if (main.dataset.view !== 'loading') render() // or the link would show that there is no connection, before it is tried
  try {
    await work()
    failures = 0
  } catch (error) {
    if (error instanceof Failure && error.status > 0 && (error.status !== 401 || trigger.id === 'unlock')) {
      known.complaint = error
    } else {
      failures += 1
      learnFailure(error)
    }
  } finally {
    busy = false
    era += 1
    trigger.removeAttribute('aria-disabled')
  }
  render(true)
  void tick()
}

async function askStatus() {
  learn(await ask('GET', '/api/auth/status'))
}

/** @param {string} key */
async function unlock(key) {
  try {
    await ask('POST', '/api/access/unlock', { key: key.trim() })
  } catch (error) {
    if (error instanceof Failure && error.status > 0) {
      known.failure = new Failure(401, 'unauthorized', texts.locked)
      keyInput.setAttribute('aria-invalid', String(error.status === 401))
      keyInput.select()
    }
    throw error
  }
  holdKey(key.trim())
  keyInput.value = ''
  keyInput.removeAttribute('aria-invalid')
  await askStatus()
}

async function start() {
  /** @type {StartedLogin} */ const started = await ask('POST', '/api/auth/start')
  leaveLogin()
  known.login = toLogin(started, now() + started.expires_in * 1000)
  // The picture of the link comes with the status; without it there still are the link and the code.
  const { login } = await ask('GET', '/api/auth/status').catch(() => /** @type {Partial<Status>} */ ({}))
  if (login?.device_code === started.device_code) known.login.qr = login.qr
}

button('sign-in').addEventListener('click', (event) =>
  act(/** @type {HTMLButtonElement} */ (event.currentTarget), start),
)
button('start-over').addEventListener('click', () =>
  act(button('start-over'), async () => {
    await start()
    flash(button('start-over'), texts.newCode)
  }),
)
button('back').addEventListener('click', () =>
  act(button('back'), async () => {
    leaveLogin()
    await askStatus()
  }),
)
for (const [id, source] of Object.entries({ 'copy-code': 'user-code', 'copy-redirect-uri': 'redirect-uri' })) {
  button(id).addEventListener('click', () => copy(button(id), html(source).textContent ?? '', () => html(source)))
}
button('refresh-now').addEventListener('click', () =>
  act(button('refresh-now'), async () => {
    learn(await ask('POST', '/api/auth/refresh'))
    flash(button('refresh-now'), texts.refreshed)
  }),
)
button('sign-out').addEventListener('click', () => dialog.showModal())
button('cancel-sign-out').addEventListener('click', () => dialog.close())
button('confirm-sign-out').addEventListener('click', () =>
  act(button('confirm-sign-out'), async () => {
    await ask('POST', '/api/auth/logout').finally(() => dialog.close())
    await askStatus()
  }),
)
button('lock').addEventListener('click', () =>
  act(button('lock'), async () => {
    await ask('POST', '/api/access/lock')
    await askStatus()
    known.result = texts.nothingToLock
  }),
)
const unlockButton = button('unlock')
element('unlock-form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault()
  void act(unlockButton, () => unlock(keyInput.value))
})

/** The way back from Yoto, `/#sign-in=…`: what it says is one of our own sentences. */
function endingFromLink() {
  const [, ending = ''] = /^#sign-in=(\w+)$/.exec(location.hash) ?? []
  if (!ending) return
  history.replaceState(null, '', location.pathname + location.search)
  known.result = Object.hasOwn(texts.endings, ending) ? texts.endings[/** @type {'failed'} */ (ending)] : ''
  known.returned = Boolean(known.result)
}

/** A link `/#key=…`: the key leaves the address bar before anything else happens. */
function keyFromLink() {
  const [, encoded] = /^#key=(.+)$/.exec(location.hash) ?? []
  if (!encoded) return false
  history.replaceState(null, '', location.pathname + location.search)
  let key = encoded
  try {
    key = decodeURIComponent(encoded)
  } catch {}
  void act(unlockButton, () => unlock(key))
  return true
}

window.addEventListener('hashchange', keyFromLink)
window.addEventListener('online', tick)
window.addEventListener('pageshow', (event) => event.persisted && tick())
document.addEventListener('visibilitychange', () => !document.hidden && tick())
window.setInterval(() => {
  if (main.dataset.view !== 'signing_in') return
  if (hasRunOut() && !html('good-code').hidden) render()
  else showCountdown()
}, 500)
wireUseIt()
wireDoctor()
endingFromLink()
if (!keyFromLink()) void tick()
