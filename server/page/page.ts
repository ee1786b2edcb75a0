import { PAGE_FILES } from './files'
import { head } from './head'
import { dataBlock, html } from './html'
import { texts } from './texts'

const ICON =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' shape-rendering='crispEdges'%3E%3Crect width='16' height='16' rx='3' fill='%23241f36'/%3E%3Cpath fill='%23ffc078' d='M5 3h6v1H5zM3 5h1v6H3zM12 5h1v6h-1zM5 12h6v1H5zM6 6h1v2H6zM9 6h1v2H9zM6 9h4v1H6z'/%3E%3C/svg%3E"

/** The page as it is before its script fills it: the same for everybody, and without anything to hide. */
export function pageMarkup(): string {
  const t = texts.page
  return html`<!doctype html>
<html lang="${texts.language}">
  ${head(texts.app, ICON, headOfPage())}
  <body>
    <header class="top">
      <h1>${texts.app}</h1>
      <nav class="row" id="unlocked" hidden>
        <a class="button quiet" href="/docs" data-testid="docs">${t.api}</a>
        <button type="button" class="quiet" id="lock" data-testid="lock">${t.lock}</button>
      </nav>
    </header>

    <main data-view="loading">
      <div class="card first">
        <div class="state">
          ${face()}
          <h2 id="view-name" tabindex="-1">${t.oneMoment}</h2>
          <div class="live" aria-live="polite">
            <p class="sentence" id="sentence" data-testid="state-sentence">${t.asking}</p>
            <p class="note" id="login-result" data-testid="login-result" hidden></p>
            <div class="note problem" id="problem" data-testid="problem" hidden></div>
            <span class="unseen" id="announcement"></span>
          </div>
        </div>
        <noscript><p class="note problem">${t.noScript}</p></noscript>

        <div class="part" data-for="locked" hidden>
          <form id="unlock-form" method="post">
            <input type="text" autocomplete="username" value="keeper" hidden>
            <label for="key">${t.key}</label>
            <div class="row">
              <input id="key" data-testid="key-input" type="password" autocomplete="current-password" autocapitalize="none" spellcheck="false" required aria-describedby="key-help problem">
              <button type="submit" class="primary" id="unlock" data-testid="unlock">${t.unlock}</button>
            </div>
            <p class="help" id="key-help">${t.keyHelp}</p>
          </form>
        </div>

        <div class="part" data-for="not_configured" id="client-id" hidden>
          <ol class="steps">${t.clientIdSteps.map(
            (step) => html`
            <li>${step}</li>`,
          )}
          </ol>
        </div>

        <div class="part" data-for="signed_out needs_sign_in" hidden>
          <div id="one-click" class="stack">
            <a class="button primary big" id="login" data-testid="login" href="/api/auth/login">${t.signIn}</a>
            <p class="help">${t.signInHelp}</p>
            <details class="stack">
              <summary>${t.beforeTheFirstTime}</summary>
              <p>${t.register}</p>
              <p class="row">
                <code class="address" id="redirect-uri" data-testid="redirect-uri" translate="no"></code>
                <button type="button" id="copy-redirect-uri" data-testid="copy-redirect-uri">${t.copyAddress}</button>
              </p>
            </details>
          </div>
          <div class="foot">
            <p class="help">${t.useCodeHelp}</p>
            <button type="button" id="sign-in" data-testid="sign-in">${t.useCode}</button>
          </div>
        </div>

        <div class="part" data-for="signing_in" hidden>
          <div class="good" id="good-code">
            <div class="ticket">
              <div>
                <p class="label" id="code-label">${t.yourCode}</p>
                <p class="code" id="user-code" data-testid="user-code" translate="no"></p>
                <button type="button" id="copy-code" data-testid="copy-code">${t.copyCode}</button>
              </div>
              <p class="scan" id="scan" hidden>
                <img id="qr" class="qr" data-testid="qr" alt="${t.qr}">
                <span class="help">${t.scan}</span>
              </p>
            </div>
            <a class="button primary big" id="verification-link" data-testid="verification-link" href="https://login.yotoplay.com/activate" target="_blank" rel="noopener noreferrer" hidden>${t.openYoto}<span class="unseen"> ${t.newTab}</span></a>
            <p id="elsewhere">
              ${t.elsewhere[0]}
              <span class="address" id="verification-address" data-testid="verification-address" translate="no"></span>
              ${t.elsewhere[1]}
            </p>
            <p class="waiting">
              <span>${t.goodFor[0]} <span class="countdown" id="countdown" data-testid="countdown" role="timer"></span>${t.goodFor[1]}</span>
              <span id="poll-message" data-testid="poll-message"></span>
              <span id="advice" data-testid="advice"></span>
            </p>
          </div>
          <div class="row actions">
            <button type="button" id="start-over" data-testid="start-over">${t.startOver}</button>
            <button type="button" id="back" data-testid="back"></button>
          </div>
        </div>

        <div class="part" data-for="signed_in" hidden>
          <dl>
            <div hidden>
              <dt>${t.account}</dt>
              <dd id="account" data-testid="account" translate="no"></dd>
            </div>
            <div hidden>
              <dt>${t.validUntil}</dt>
              <dd><time id="expires-at" data-testid="expires-at"></time></dd>
            </div>
            <div hidden>
              <dt>${t.nextRefresh}</dt>
              <dd><time id="refresh-at" data-testid="refresh-at"></time></dd>
            </div>
            <div hidden>
              <dt>${t.keptIn}</dt>
              <dd>
                <span id="storage-place" data-testid="storage-place"></span>
                <span class="aside" id="storage-fate" data-testid="storage-fate"></span>
              </dd>
            </div>
          </dl>
          <div class="row actions">
            <button type="button" class="primary" id="refresh-now" data-testid="refresh-now">${t.refreshNow}</button>
            <button type="button" id="sign-out" data-testid="sign-out">${t.signOut}</button>
          </div>
        </div>

        <div class="part" data-for="unreachable" hidden>
          <p class="help">${t.unreachableHelp}</p>
        </div>
      </div>

      <div class="side">
        <div class="more" data-for="signed_out signed_in needs_sign_in" hidden>
          <section class="card flow" id="history" data-testid="history" aria-labelledby="history-title" hidden>
            <h2 id="history-title">${t.history}</h2>
            <div class="lead" id="timeline" data-testid="timeline"></div>
            <details id="history-details">
              <summary>${t.asTable}</summary>
              <div class="scroll" role="region" aria-labelledby="history-caption" tabindex="0">
                <table data-testid="history-table">
                  <caption class="unseen" id="history-caption"></caption>
                  <thead><tr><th scope="col">${t.when}</th><th scope="col">${t.what}</th></tr></thead>
                  <tbody id="history-rows"></tbody>
                </table>
              </div>
            </details>
          </section>
        </div>

        <div class="more" data-for="signed_out signed_in needs_sign_in not_configured" hidden>
          <section class="card flow" id="doctor" data-testid="doctor" aria-labelledby="doctor-title">
            <h2 id="doctor-title">${t.doctor}</h2>
            <p class="help lead">${t.doctorHelp}</p>
            <button type="button" id="doctor-run" data-testid="doctor-run">${t.doctorRun}</button>
            <div role="status">
              <p id="doctor-outcome" data-testid="doctor-outcome" hidden></p>
            </div>
            <ul class="checks" id="doctor-checks" data-testid="doctor-checks" hidden></ul>
          </section>
        </div>
      </div>

      <div class="more" data-for="signed_in" hidden>
        <section class="card flow" id="use-it" data-testid="use-it" aria-labelledby="use-it-title">
          <h2 id="use-it-title">${t.useIt}</h2>
          <p class="help lead">${t.useItHelp}</p>
          <p class="row held" id="held-key" hidden>
            <span>${t.heldKey}</span>
            <button type="button" class="quiet" id="show-key" data-testid="show-key"></button>
          </p>${Object.entries(t.snippets).map(
            ([id, name], index) => html`
          <details name="snippet" data-testid="snippet-${id}"${index === 0 && html` open`}>
            <summary>${name}</summary>
            <pre translate="no"><code id="snippet-${id}"></code></pre>
            <button type="button" id="copy-${id}" data-testid="copy-${id}" aria-label="${t.copySnippet}: ${name}">${t.copySnippet}</button>
          </details>`,
          )}
        </section>
      </div>
    </main>

    <dialog id="sign-out-dialog" class="card" aria-labelledby="sign-out-title" aria-describedby="sign-out-text">
      <h2 id="sign-out-title">${t.signOutTitle}</h2>
      <p id="sign-out-text">${t.signOutText}</p>
      <div class="row actions">
        <button type="button" class="danger" id="confirm-sign-out" data-testid="confirm-sign-out">${t.confirmSignOut}</button>
        <button type="button" id="cancel-sign-out" data-testid="cancel-sign-out">${t.cancelSignOut}</button>
      </div>
    </dialog>
  </body>
</html>
`.markup
}

/** Its script, with the parts of it at once, and the script's texts. */
function headOfPage() {
  return html`${PAGE_FILES.filter((path) => path.startsWith('/client/')).map(
    (path) => html`
    <link rel="modulepreload" href="${path}">`,
  )}
    <script type="module" src="/client.js"></script>
    ${dataBlock('texts', texts.script)}`
}

/** A face on a pixel screen, with one mien a state. */
function face() {
  return html`<svg class="face" viewBox="-2 -2 20 20" shape-rendering="crispEdges" fill="currentColor" aria-hidden="true" focusable="false">
            <path d="M5 1h6v1H5zM3 2h2v1H3zM11 2h2v1h-2zM2 3h1v2H2zM13 3h1v2h-1zM1 5h1v1H1zM14 5h1v1h-1zM0 6h3v4H0zM13 6h3v4h-3zM1 10h1v1H1zM14 10h1v1h-1zM2 11h1v2H2zM13 11h1v2h-1zM3 13h2v1H3zM11 13h2v1h-2zM5 14h6v1H5z" />
            <path data-for="locked" d="M7 4h2v1H7zM6 5h4v3H6zM7 8h2v4H7z" hidden />
            <path data-for="not_configured" d="M6 4h4v1H6zM5 5h2v1H5zM9 5h2v2H9zM8 7h2v1H8zM7 8h2v1H7zM7 10h2v2H7z" hidden />
            <path data-for="signed_out loading" d="M4 7h3v1H4zM9 7h3v1H9zM7 10h2v1H7z" />
            <path data-for="signing_in signed_in needs_sign_in" d="M5 6h1v2H5zM10 6h1v2h-1z" hidden />
            <path class="sing" data-for="signing_in" d="M7 10h2v2H7z" hidden />
            <path class="smile" data-for="signed_in" d="M5 10h1v1H5zM10 10h1v1h-1zM6 11h4v1H6z" hidden />
            <path class="flat" data-for="signed_in" d="M5 11h6v1H5z" hidden />
            <path data-for="needs_sign_in" d="M6 10h4v1H6zM5 11h1v1H5zM10 11h1v1h-1z" hidden />
            <path data-for="unreachable" d="M4 5h1v1H4zM6 5h1v1H6zM5 6h1v1H5zM4 7h1v1H4zM6 7h1v1H6zM9 5h1v1H9zM11 5h1v1h-1zM10 6h1v1h-1zM9 7h1v1H9zM11 7h1v1h-1zM6 10h4v1H6z" hidden />
          </svg>`
}
