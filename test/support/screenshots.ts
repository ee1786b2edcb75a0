import { mkdirSync, rmSync } from 'node:fs'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startBrowser } from './browser'
import { openIn, type PageState, pageStates } from './page-states'

/**
 * `npm run screenshots`: a picture of every state of the page, light and dark, on a phone and on a desk. Names of states behind the command
 * take only those.
 */

const folder = fileURLToPath(new URL('../../screenshots', import.meta.url))
const wanted = process.argv.slice(2)
const states = pageStates.filter(({ name }) => wanted.length === 0 || wanted.includes(name))
for (const name of wanted)
  if (!states.some((state) => state.name === name)) throw new Error(`no state is called ${name}`)

if (wanted.length === 0) rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const browser = await startBrowser()

async function picture(state: PageState): Promise<void> {
  const stage = await state.set()
  const context = await browser.newContext({ reducedMotion: 'reduce' })
  try {
    const page = await openIn(state, stage, context)
    for (const width of [390, 1280]) {
      await page.setViewportSize({ width, height: width < 800 ? 844 : 800 })
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme })
        const path = `${folder}/${state.name}-${colorScheme}-${width}.png`
        await page.screenshot({ path, fullPage: true, animations: 'disabled' })
        console.log(relative(process.cwd(), path))
      }
    }
  } finally {
    await context.close()
    await stage.stop()
  }
}

// Two at a time: most of each is waiting for the page to notice.
const queue = states.values()
async function work(): Promise<void> {
  for (const state of queue) {
    if (state.skip) {
      console.error(`${state.name}: cannot be reached here: ${state.skip}`)
      process.exitCode = 1
      continue
    }
    await picture(state).catch((error) => {
      console.error(`${state.name}: was not reached: ${(error as Error).message}`)
      process.exitCode = 1
    })
  }
}
await Promise.all([work(), work()])
await browser.close()
