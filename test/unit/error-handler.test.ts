import { afterEach, expect, it, vi } from 'vitest'

// A failure that nobody foresaw, and so none that the built service could be made to have.

vi.mock('nitropack/runtime', () => ({ defineNitroErrorHandler: (handler: unknown) => handler }))

afterEach(() => {
  vi.restoreAllMocks()
})

it('logs the path without its query, and answers without the stack', async () => {
  const { default: handle } = (await import('../../server/http/error-handler')) as unknown as {
    default(thrown: Error, event: object): Promise<void>
  }
  const print = vi.spyOn(console, 'error').mockImplementation(() => {})
  const end = vi.fn()
  const res = { headersSent: false, setHeader: () => {}, end }
  const path = '/api/auth/callback?state=planted-state&code=planted-code'
  await handle(new Error('a mistake of ours'), { method: 'GET', path, handled: false, node: { res } })
  expect(print).toHaveBeenCalledExactlyOnceWith(expect.stringMatching(/^GET \/api\/auth\/callback: Error: a mistake/))
  expect(String(print.mock.calls)).not.toContain('planted')
  expect(JSON.parse(end.mock.calls[0]?.[0])).toMatchObject({ error: 'internal_error' })
  expect(end.mock.calls[0]?.[0]).not.toMatch(/mistake|planted/)
})
