// @ts-check
/** What a program needs to use this service, to be copied. The calls are those of examples/. */

import { button, copy, html, say, texts } from './parts.js'

const t = texts.useIt
const MASK = '•'.repeat(12)

/** What the owner has typed, or came with; in memory alone, and forgotten with the page. @type {string | undefined} */
let key
let isShown = false

/** @param {string} text */
const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`

/** @type {Record<string, (key: string | undefined) => string>} */
const SNIPPETS = {
  shell: (key) => `KEEPER_URL=${shellQuoted(location.origin)}
${key ? `KEEPER_KEY=${shellQuoted(key)}` : `: "\${KEEPER_KEY:?${t.setKey}}"`}

# ${t.aToken}
TOKEN=$(printf 'Authorization: Bearer %s\\n' "$KEEPER_KEY" |
  curl -fsS -H @- -H 'Accept: text/plain' "$KEEPER_URL/api/token?min_ttl=600")

# ${t.aCall}
printf 'Authorization: Bearer %s\\n' "$KEEPER_KEY" |
  curl -fsS -H @- "$KEEPER_URL/api/yoto/device-v2/devices/mine"
`,
  python: (key) => `import json, os, urllib.request

KEEPER_URL = ${JSON.stringify(location.origin)}
KEEPER_KEY = ${key ? JSON.stringify(key) : 'os.environ["KEEPER_KEY"]'}

def yoto(path):
    request = urllib.request.Request(KEEPER_URL + "/api/yoto" + path)
    request.add_unredirected_header("Authorization", "Bearer " + KEEPER_KEY)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)

for player in yoto("/device-v2/devices/mine")["devices"]:
    print(player["name"], "${t.online}" if player["online"] else "${t.offline}")
`,
  homeAssistant: (key) => `# ${t.secrets}
yoto_player: "${location.origin}/api/yoto/device-v2/PLAYER_ID/config"
yoto_keeper_authorization: ${JSON.stringify(`Bearer ${key ?? '$KEEPER_KEY'}`)}

# ${t.configuration}
rest:
  - resource: !secret yoto_player
    headers:
      Authorization: !secret yoto_keeper_authorization
    scan_interval: 300
    sensor:
      - name: ${JSON.stringify(t.battery)}
        device_class: battery
        unit_of_measurement: "%"
        value_template: "{{ value_json.device.status.batteryLevel }}"
`,
}

function show() {
  html('held-key').hidden = key === undefined
  const toggle = button('show-key')
  say(toggle, isShown ? t.hide : t.show)
  for (const [id, snippet] of Object.entries(SNIPPETS)) {
    say(html(`snippet-${id}`), snippet(key && !isShown ? MASK : key))
  }
}

/** @param {string} typed */
export function holdKey(typed) {
  key = typed
  isShown = false
  show()
}

export function forgetKey() {
  if (key === undefined) return
  key = undefined
  isShown = false
  show()
}

export function wireUseIt() {
  show()
  button('show-key').addEventListener('click', () => {
    isShown = !isShown
    show()
  })
  for (const [id, snippet] of Object.entries(SNIPPETS)) {
    const trigger = button(`copy-${id}`)
    trigger.addEventListener('click', () =>
      copy(trigger, snippet(key), () => {
        isShown = true // or the mask would be copied
        show()
        return html(`snippet-${id}`)
      }),
    )
  }
}
