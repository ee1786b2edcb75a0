import chromium from '@sparticuz/chromium'
import { type Browser, chromium as playwright } from 'playwright-core'

/**
 * A real browser; it comes inside an npm package, so nothing has to be installed for it. The package's own arguments are made for
 * Lambda: among other things they switch the same-origin policy off.
 */
export async function startBrowser(): Promise<Browser> {
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking']
  return playwright.launch({ executablePath: await chromium.executablePath(), args, headless: true })
}
