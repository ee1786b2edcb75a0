import { html } from './html'

const language = 'en'
const app = 'Yoto Token Keeper'

/**
 * Every text of the page, in one place to be translated. What the service itself says (`message`, `hint`) comes from the service.
 * `page` is put into the markup; `script` is handed to the page's script, as strings alone.
 */
export const texts = {
  language,
  app,

  page: {
    api: 'API',
    lock: 'Lock',
    oneMoment: 'One moment',
    asking: 'Asking the service how it is…',
    noScript: 'This page needs JavaScript. Programs need only the API.',

    key: 'Keeper key',
    unlock: 'Unlock',
    keyHelp: html`It is the value of the service’s variable <code>KEEPER_KEY</code>. If you did not set one, open the service’s log:
            the link printed at its start unlocks this page.`,

    clientIdSteps: [
      html`Open the developer dashboard at ${yotoDev()}, create an app and copy its client id.`,
      html`Set the variable <code>YOTO_CLIENT_ID</code> of this service to that id.`,
      html`Restart the service. This page notices by itself.`,
    ],

    signIn: 'Sign in to Yoto',
    signInHelp: 'You agree on Yoto’s own page and come back here. Your Yoto password never comes here.',
    beforeTheFirstTime: 'Before the first time',
    register: html`In the dashboard at ${yotoDev()}, register this address as a callback of your app, to the letter:`,
    copyAddress: 'Copy address',
    useCodeHelp: 'No callback registered, or another device at hand? Approve a short code on Yoto’s page.',
    useCode: 'Use a code',

    yourCode: 'Your code',
    copyCode: 'Copy code',
    qr: 'QR code: opens Yoto’s page on a phone',
    scan: 'Or scan this with a phone.',
    openYoto: 'Open Yoto and approve',
    newTab: '(opens a new tab)',
    /** Around the address. */
    elsewhere: ['On another device, go to', 'and type the code.'],
    /** Around the countdown. */
    goodFor: ['The code is good for another', '.'],
    startOver: 'Start over',

    account: 'Account',
    validUntil: 'Token valid until',
    nextRefresh: 'Next refresh',
    keptIn: 'Kept in',
    refreshNow: 'Refresh now',
    signOut: 'Sign out…',

    unreachableHelp: 'It keeps trying. Nothing is needed here; if it takes long, look at the service’s log.',

    signOutTitle: 'Sign out of Yoto?',
    signOutText:
      'The token is revoked and removed. Programs that use this service get no token until somebody signs in again.',
    confirmSignOut: 'Sign out',
    cancelSignOut: 'Stay signed in',

    history: 'History',
    asTable: 'As a table',
    when: 'When',
    what: 'What happened',

    useIt: 'Use it',
    useItHelp: html`Your programs ask this address, and show a key. Better than your own is a key for each program, which reaches tokens
            and Yoto’s API only: set <code>KEEPER_TOOL_KEYS</code>.`,
    heldKey: 'Your key is in these snippets.',
    copySnippet: 'Copy',
    snippets: { shell: 'Shell', python: 'Python', homeAssistant: 'Home Assistant' },

    doctor: 'Checks',
    doctorHelp: 'Looks at the set-up, the store and the way to Yoto, and says what to mend.',
    doctorRun: 'Check everything',
  },

  script: {
    app,
    language,
    /** Where the reader's own kind of English is not known. */
    locale: 'en-GB',
    views: {
      locked: 'Locked',
      not_configured: 'Not set up yet',
      signed_out: 'Signed out',
      signing_in: 'Signing in',
      signed_in: 'Signed in',
      needs_sign_in: 'Sign in again',
      unreachable: 'No connection',
    },
    locked: 'Enter the keeper key to see this page.',
    mayClose: 'You may close this tab: the service finishes the sign-in by itself.',
    keepOpen: 'Keep this tab open until you are signed in: the service asks Yoto only while it is.',
    signingIn: 'Open Yoto’s page, check that it shows this code, and approve.',
    unreachable: 'This page cannot reach the service.',
    problems: {
      yoto_unreachable: 'Yoto cannot be reached.',
      misconfigured: 'The set-up needs mending.',
      not_saved: 'The sign-in could not be saved.',
      not_durable: 'A sign-in may not survive a restart or a redeployment.',
    },
    /** What to do about it, where the service says nothing. */
    mends: {
      yoto_unreachable: 'Nothing is needed here: the service tries again by itself.',
      misconfigured: 'The service’s log says what Yoto objects to.',
      not_saved: 'Make room, or make the place writable again. The service keeps trying; do not restart it before.',
      not_durable: 'Give the service a volume or a store, then sign in once more.',
    },
    /** A sign-in by code that came to nothing, and what to do. */
    ended: {
      expired: 'The code has run out.',
      error: 'The sign-in did not work.',
    },
    next: {
      expired: 'Press “Use a code” for a new one.',
      access_denied: 'Press “Use a code” for a new one, and allow it this time.',
      error: 'Start again whenever you like.',
    },
    ranOut: 'The code has run out. Press “Start over” for a new one.',
    oneClickInstead: 'Sign in with one click instead',
    back: 'Back',
    /** As the service says it where there is nothing to add. */
    signedInPlainly: 'Signed in.',
    /** How a sign-in in the browser came back. */
    endings: {
      success: 'You are signed in to Yoto.',
      other_account:
        'You are signed in to another Yoto account than before. If that is not what you want, sign in again.',
      denied: 'Access was denied at Yoto. Sign in again and allow it.',
      not_allowed:
        'Yoto does not let this app sign in this way. Use a code instead, or allow “Authorization Code” for the app at yoto.dev.',
      wrong_scope:
        'Yoto did not grant what was asked for. Choose offline_access and what stands in YOTO_SCOPE for the app at yoto.dev, then sign in again.',
      expired: 'That took too long. Sign in again.',
      used: 'This sign-in had come back before. If you are not signed in now, sign in again.',
      unexpected: 'Nobody began this sign-in in this browser. Press “Sign in to Yoto” to begin one.',
      unreachable: 'Yoto could not be reached to finish the sign-in. Try again in a minute.',
      failed: 'The sign-in did not work. The service’s log says why; then sign in again.',
      not_begun: 'The sign-in could not begin. Try again in a minute; the service’s log says why.',
    },
    copied: 'Copied',
    copyByHand: 'Selected: copy it with your keyboard',
    newCode: 'New code',
    refreshed: 'Refreshed',
    nothingToLock: 'There is nothing to lock: this service asks for no key here.',
    survives: 'survives restarts and redeployments',
    perishes: 'may not survive a restart or a redeployment',
    notThereYet: 'not saved there at the moment',
    due: 'due now',
    unexpected: 'The service gave an answer this page does not understand.',

    history: {
      twoWeeks: 'Last two weeks',
      since: 'Since {date}',
      nothing: 'nothing yet',
      table: 'What happened, newest first',
      now: 'now',
      unreadable: 'The history cannot be shown at the moment.',
      gap: 'No refresh, from {from} to {to}',
      /** With the number in them. */
      counts: {
        sign_in: { one: '{n} sign-in', other: '{n} sign-ins' },
        refresh: { one: '{n} refresh', other: '{n} refreshes' },
        failure: { one: '{n} failure', other: '{n} failures' },
        sign_out: { one: '{n} sign-out', other: '{n} sign-outs' },
        gap: { one: '{n} gap without a refresh', other: '{n} gaps without a refresh' },
      },
      kinds: {
        start: 'Start',
        sign_in: 'Sign-in',
        refresh: 'Refresh',
        sign_out: 'Sign-out',
        storage: 'Storage',
        access: 'Access',
        notice: 'Notice',
        stop: 'Stop',
      },
      times: '{n} times, last {date}',
    },

    doctor: {
      running: 'Checking…',
      well: { one: '{n} check, and it is well.', other: '{n} checks, and all is well.' },
      ill: { one: '{n} problem found.', other: '{n} problems found.' },
      ok: 'Well',
      notOk: 'Problem',
    },

    useIt: {
      show: 'Show key',
      hide: 'Hide key',
      /** Comments in the snippets. */
      setKey: 'set it to your key',
      aToken: 'A token, for a program that calls Yoto itself',
      aCall: 'Or a call to Yoto that the keeper gives a token on the way',
      online: 'online',
      offline: 'offline',
      secrets: 'In secrets.yaml, with your key and your player’s id:',
      configuration: 'In configuration.yaml:',
      battery: 'Yoto player battery',
    },
  },
}

/** What the page's script gets. */
export type ScriptTexts = typeof texts.script

function yotoDev() {
  return html`<a href="https://yoto.dev" target="_blank" rel="noopener noreferrer">yoto.dev</a>`
}
