import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, type TestContext } from 'vitest'
import { canMount, mountSmallDisk } from '../faults/disk'
import {
  askStatus,
  askToken,
  duringRefresh,
  expectSignedIn,
  FOR_REFRESH,
  letTimePass,
  place,
  refresh,
  type Scene,
  setScene,
  signIn,
  signOut,
  TOKEN,
} from '../faults/scene'
import type { Keeper } from '../support/keeper-process'
import { waitUntil } from '../support/wait-until'

// NOTIFY_URL: what the owner is told, once each, and that nothing waits for it.

const RECORD = '.yoto_notice.json'
const HOURS_AGO = '2026-01-01T00:00:00.000Z'
const TOPIC = '/hush-hush-topic'

interface Received {
  path: string
  headers: IncomingHttpHeaders
  body: { title: string; message: string; condition: string; at: string; hint?: string; url?: string }
  text: string
  response: ServerResponse
}

interface Receiver {
  env: { NOTIFY_URL: string }
  received: Received[]
  conditions(): string[]
  /** By default 200. */
  answer(how: (response: ServerResponse) => void): void
  pause(): Promise<void>
  resume(): Promise<void>
}

const accept = (response: ServerResponse) => void response.writeHead(200).end('{}')
const hang = () => {}

async function startReceiver(context: TestContext): Promise<Receiver> {
  const received: Received[] = []
  let answer: (response: ServerResponse) => void = accept
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    received.push({ path: request.url ?? '', headers: request.headers, body: JSON.parse(text), text, response })
    answer(response)
  })
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  const pause = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
  await listen(0)
  context.onTestFinished(pause)
  const { port } = server.address() as AddressInfo
  return {
    env: { NOTIFY_URL: `http://127.0.0.1:${port}${TOPIC}?auth=hush-hush-token` },
    received,
    conditions: () => received.map(({ body }) => body.condition),
    answer(how) {
      answer = how
    },
    pause,
    resume: () => listen(port),
  }
}

/** Exactly these have arrived, in this order. */
async function expectTold(receiver: Receiver, ...conditions: string[]): Promise<void> {
  await waitUntil(() => receiver.received.length >= conditions.length, {
    what: `the owner was told ${conditions}; was told ${receiver.conditions()}`,
  })
  expect(receiver.conditions()).toEqual(conditions)
}

interface Told {
  condition: string
  at: string
  delivered: boolean
}

function record(dir: string): Partial<Told> {
  return existsSync(join(dir, RECORD)) ? JSON.parse(readFileSync(join(dir, RECORD), 'utf8')) : {}
}

/** What an earlier process has left. */
function placeRecord(dir: string, told: Partial<Told>): void {
  writeFileSync(join(dir, RECORD), JSON.stringify({ version: 1, at: HOURS_AGO, ...told }))
}

/** The notice is out of the process's hands. */
const expectDelivered = (dir: string) => waitUntil(() => record(dir).delivered, { what: 'the record said delivered' })

const stateIs = (keeper: Keeper, state: string) =>
  waitUntil(async () => (await askStatus(keeper)).state === state, { what: `the state was ${state}` })

/** Where the store is gone no sign-in can be polled: what has been told once would be told again in the time that it took. */
async function asLongAgain(since: number): Promise<void> {
  const end = performance.now() + (performance.now() - since)
  await waitUntil(() => performance.now() > end, { what: 'the time had passed' })
}

/** Yoto has ended this sign-in. */
async function revokeAtYoto({ yoto, first }: Scene): Promise<void> {
  const form = new URLSearchParams({ client_id: yoto.clientId, token: first.refresh_token })
  await fetch(`${yoto.url}/oauth/revoke`, { method: 'POST', body: form })
}

/** A scene whose tokens live 20 s, so that nothing takes long: two are issued a sign-in away from each other. */
const setShortScene = (context: TestContext) => setScene(context, 'none', { expiresIn: 20 })

/** Text for ntfy: what a header can carry, and no template. */
const PLAIN = /^[\x20-\x7a|~]+$/

function expectWellMade({ path, headers, body }: Received, condition: string): void {
  expect(path).toBe(`${TOPIC}?auth=hush-hush-token`)
  expect(headers).toMatchObject({
    'content-type': 'application/json',
    template: 'yes',
    title: body.title,
    message: [body.message, body.hint].filter(Boolean).join(' '),
  })
  expect(headers.title).toMatch(PLAIN)
  expect(headers.message).toMatch(PLAIN)
  expect(headers).not.toHaveProperty('authorization')
  expect(headers).not.toHaveProperty('cookie')
  expect(body).toMatchObject({ title: expect.stringMatching(/^Yoto: /), condition })
  expect(Math.abs(Date.now() - Date.parse(body.at))).toBeLessThan(60_000)
  expect(body.at).toBe(new Date(body.at).toISOString())
}

describe.concurrent('the owner is told', () => {
  it('that the sign-in is lost, and when it is well again', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'expired')
    await revokeAtYoto(scene)
    const keeper = await scene.start({ ...receiver.env, PUBLIC_URL: 'https://keeper.example' })
    await expectTold(receiver, 'lost')
    await signIn(keeper, scene.yoto)
    await expectTold(receiver, 'lost', 'well')
    const [lost, well] = receiver.received as [Received, Received]
    expectWellMade(lost, 'lost')
    expect(lost.body).toMatchObject({ hint: expect.stringMatching(/sign in again/i), url: 'https://keeper.example/' })
    expect(lost.headers.click).toBe('https://keeper.example/')
    expectWellMade(well, 'well')
    expect(well.body).not.toHaveProperty('hint')
    await waitUntil(() => keeper.log().match(/notice sent: /g)?.length === 2, { what: 'the log named both' })
    const { body } = await keeper.json<{ events: { kind: string; outcome: string; message: string }[] }>('/api/journal')
    const events = body.events.filter(({ kind }) => kind === 'notice')
    expect(events.map(({ outcome, message }) => `${outcome}: ${message}`)).toEqual([
      'sent: The owner was told: lost.',
      'sent: The owner was told: well.',
    ])
  })

  it('that the stored token cannot be used', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'valid')
    writeFileSync(join(scene.dir, TOKEN), ' \n')
    await scene.start(receiver.env)
    await expectTold(receiver, 'lost')
    expect(receiver.received[0]?.body).toMatchObject({ hint: expect.stringMatching(/right file in its place/) })
    expect(receiver.received[0]?.body).not.toHaveProperty('url')
  })

  it('that the sign-in cannot be saved, though the record cannot be either, and when it is well again', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'valid')
    await scene.start(receiver.env)
    const since = performance.now()
    renameSync(scene.dir, `${scene.dir}-away`)
    await expectTold(receiver, 'not_saved')
    await asLongAgain(since)
    renameSync(`${scene.dir}-away`, scene.dir)
    await expectTold(receiver, 'not_saved', 'well')
    const [notSaved, well] = receiver.received as [Received, Received]
    expectWellMade(notSaved, 'not_saved')
    expect(notSaved.body).toMatchObject({ hint: expect.stringMatching(/mount the volume/) })
    expect(notSaved.text).not.toContain(scene.dir)
    expectWellMade(well, 'well')
  })

  it('that the store cannot be read at the start: nothing is said to be lost', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'valid')
    placeRecord(scene.dir, { condition: 'well', delivered: true })
    renameSync(scene.dir, `${scene.dir}-away`)
    await scene.start(receiver.env)
    await expectTold(receiver, 'not_saved')
    renameSync(`${scene.dir}-away`, scene.dir)
    await expectTold(receiver, 'not_saved', 'well')
  })

  it.skipIf(!canMount)('that the disk is full after a refresh', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'valid', { leftover: false })
    const disk = mountSmallDisk(scene.dir)
    context.onTestFinished(disk.unmount)
    place(scene.dir, scene.yoto, scene.first, 'valid')
    const keeper = await scene.start(receiver.env)
    const since = performance.now()
    await duringRefresh(keeper, scene, disk.fill)
    await expectTold(receiver, 'not_saved')
    expect(receiver.received[0]?.body).toMatchObject({ hint: expect.stringMatching(/disk is full/) })
    await asLongAgain(since)
    disk.free()
    await expectTold(receiver, 'not_saved', 'well')
    await expectSignedIn(keeper, scene)
  })

  it('that the token is running out, not before it does, and when it is well again', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'none', { expiresIn: 8 })
    const { yoto } = scene
    const keeper = await scene.start(receiver.env)
    await expectSignedIn(keeper, scene)
    const { body } = await askToken(keeper)
    await yoto.pause()
    await expectTold(receiver, 'running_out')
    const notice = receiver.received[0] as Received
    expectWellMade(notice, 'running_out')
    expect(notice.body).toMatchObject({ hint: expect.stringMatching(/network/) })
    expect(Date.parse(notice.body.at)).toBeGreaterThan(Date.parse(body.expires_at ?? '') - 1_000)
    await yoto.resume()
    await expectTold(receiver, 'running_out', 'well')
    expectWellMade(receiver.received[1] as Received, 'well')
  })

  it('of a client that Yoto does not know, once the token runs out, with the mend', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'none', { expiresIn: 8 })
    const keeper = await scene.start(receiver.env)
    await expectSignedIn(keeper, scene)
    scene.yoto.inject({ kind: 'status', status: 401, body: { error: 'invalid_client' } }, { ...FOR_REFRESH, times: 9 })
    await expectTold(receiver, 'running_out')
    expect(receiver.received[0]?.body).toMatchObject({ hint: expect.stringMatching(/YOTO_CLIENT_ID/) })
  })
})

describe.concurrent('nobody is told', () => {
  it('of a first failure at a start', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'expired')
    scene.yoto.inject({ kind: 'status', status: 500 }, { ...FOR_REFRESH, times: 3 })
    const keeper = await scene.start(receiver.env)
    await expectSignedIn(keeper, scene)
    expect(scene.refreshes().length).toBeGreaterThan(3)
    await letTimePass(keeper, scene.yoto)
    expect(receiver.conditions()).toEqual([])
    expect(existsSync(join(scene.dir, RECORD))).toBe(false)
  })

  it('of a sign-out or the sign-in after it; and what was wrong before is over with it', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setShortScene(context)
    await revokeAtYoto(scene)
    const keeper = await scene.start(receiver.env)
    await expectTold(receiver, 'lost')
    await signOut(keeper)
    await waitUntil(() => record(scene.dir).condition === 'well', { what: 'nothing was outstanding' })
    expect(record(scene.dir).delivered).toBe(true)
    await signIn(keeper, scene.yoto)
    await letTimePass(keeper, scene.yoto)
    await signOut(keeper)
    await letTimePass(keeper, scene.yoto)
    await keeper.stop()
    expect(receiver.conditions()).toEqual(['lost'])
  })

  it('of what is well again, if a sign-out came before it could be told', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setShortScene(context)
    await revokeAtYoto(scene)
    const keeper = await scene.start(receiver.env)
    await expectTold(receiver, 'lost')
    receiver.answer((response) => void response.writeHead(500).end())
    await signIn(keeper, scene.yoto)
    await waitUntil(() => receiver.conditions().includes('well'), { what: 'it was tried' })
    await signOut(keeper)
    await expectDelivered(scene.dir)
    receiver.answer(accept)
    const before = receiver.received.length
    await signIn(keeper, scene.yoto)
    await letTimePass(keeper, scene.yoto)
    expect(receiver.received).toHaveLength(before)
  })

  it('without NOTIFY_URL, and nothing is stored', async (context) => {
    const scene = await setScene(context, 'expired')
    await revokeAtYoto(scene)
    const keeper = await scene.start()
    await stateIs(keeper, 'needs_sign_in')
    await letTimePass(keeper, scene.yoto)
    await letTimePass(keeper, scene.yoto)
    await keeper.stop()
    expect(readdirSync(scene.dir).filter((name) => name.includes('notice'))).toEqual([])
    expect(keeper.log()).not.toContain('notice')
  })
})

describe.concurrent('once', () => {
  it('while it lasts, over restarts, after which the end is told too', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setShortScene(context)
    await revokeAtYoto(scene)
    const keeper = await scene.start(receiver.env)
    await expectTold(receiver, 'lost')
    await letTimePass(keeper, scene.yoto)
    await expectDelivered(scene.dir)
    await keeper.stop()
    const again = await scene.start(receiver.env)
    await letTimePass(again, scene.yoto)
    await again.kill()
    const third = await scene.start(receiver.env)
    await letTimePass(third, scene.yoto)
    expect(receiver.conditions()).toEqual(['lost'])
    await signIn(third, scene.yoto)
    await expectTold(receiver, 'lost', 'well')
    await expectDelivered(scene.dir)
    await third.stop()
    const fourth = await scene.start(receiver.env)
    await letTimePass(fourth, scene.yoto)
    expect(receiver.conditions()).toEqual(['lost', 'well'])
  })

  it('that a token is running out, over a restart: a start is not well before a refresh', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'none', { expiresIn: 8 })
    const keeper = await scene.start(receiver.env)
    await expectSignedIn(keeper, scene)
    await scene.yoto.pause()
    await expectTold(receiver, 'running_out')
    await expectDelivered(scene.dir)
    await keeper.stop()
    await scene.yoto.resume()
    scene.yoto.inject({ kind: 'timeout' }, FOR_REFRESH)
    let refreshes = 0
    receiver.answer((response) => {
      refreshes = scene.yoto.counts.refresh_ok
      accept(response)
    })
    const again = await scene.start(receiver.env)
    await expectTold(receiver, 'running_out', 'well')
    expect(refreshes).toBe(2)
    await again.stop()
  })

  it('from two processes on one store', async (context) => {
    const receiver = await startReceiver(context)
    receiver.answer((response) => setTimeout(accept, 200, response))
    const scene = await setShortScene(context)
    const { yoto, dir } = scene
    await revokeAtYoto(scene)
    const both = await Promise.all([scene.start(receiver.env), scene.start(receiver.env)])
    for (const condition of ['lost', 'well', 'lost', 'well']) {
      if (condition === 'lost') {
        writeFileSync(join(dir, TOKEN), 'a token that Yoto does not know')
      } else {
        await signIn(both[0], yoto)
      }
      for (const keeper of both) await stateIs(keeper, condition === 'lost' ? 'needs_sign_in' : 'signed_in')
      await waitUntil(() => record(dir).condition === condition && record(dir).delivered, { what: 'one told it' })
      for (const keeper of both) await letTimePass(keeper, yoto)
    }
    expect(receiver.conditions()).toEqual(['lost', 'well', 'lost', 'well'])
    const logs = both.map((keeper) => keeper.log()).join('')
    expect(logs.match(/notice sent: /g)).toHaveLength(4)
  })
})

describe.concurrent('a notice that does not arrive', () => {
  it('because nobody listens is sent when somebody does', async (context) => {
    const receiver = await startReceiver(context)
    await receiver.pause()
    const scene = await setScene(context, 'expired')
    await revokeAtYoto(scene)
    const keeper = await scene.start(receiver.env)
    const failures = () => keeper.log().match(/notice failed: .*lost \(ECONNREFUSED\)/g)?.length ?? 0
    await waitUntil(() => failures() >= 2, { what: 'it was tried twice' })
    expect(record(scene.dir)).toMatchObject({ condition: 'lost', delivered: false })
    await receiver.resume()
    await expectTold(receiver, 'lost')
    await expectDelivered(scene.dir)
    expect(receiver.received[0]?.body.at).toBe(record(scene.dir).at)
  })

  it.for<[string, (response: ServerResponse) => void, RegExp]>([
    ['the answer is 500', (response) => void response.writeHead(500).end('no'), /it answered 500/],
    ['it is sent elsewhere', (response) => void response.writeHead(307, { location: '/else' }).end(), /answered 307/],
    ['the answer never comes', hang, /no answer within 5 seconds/],
    ['the connection breaks', (response) => void response.destroy(), /notice failed: .*lost/],
  ])('because %s is sent again, to the same address', async ([, answer, log], context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'expired')
    receiver.answer(answer)
    await revokeAtYoto(scene)
    const keeper = await scene.start(receiver.env)
    await waitUntil(() => receiver.received.length >= 2, { what: 'it was tried twice' })
    receiver.answer(accept)
    await expectDelivered(scene.dir)
    expect(keeper.log()).toMatch(log)
    for (const { path, body } of receiver.received) {
      expect(path).toBe(`${TOPIC}?auth=hush-hush-token`)
      expect(body).toEqual(receiver.received[0]?.body)
    }
  })

  it('because the process ends is sent by the next', async (context) => {
    const receiver = await startReceiver(context)
    receiver.answer(hang)
    const scene = await setScene(context, 'expired')
    await revokeAtYoto(scene)
    const keeper = await scene.start(receiver.env)
    await waitUntil(() => receiver.received.length === 1, { what: 'it was tried' })
    await keeper.kill()
    receiver.answer(accept)
    await scene.start(receiver.env)
    await expectDelivered(scene.dir)
    expect(receiver.conditions()).toEqual(['lost', 'lost'])
  })

  it('because the process ends is sent by another that runs', async (context) => {
    const receiver = await startReceiver(context)
    receiver.answer(hang)
    const scene = await setScene(context, 'expired')
    await revokeAtYoto(scene)
    const keeper = await scene.start(receiver.env)
    await waitUntil(() => receiver.received.length > 0, { what: 'it was tried' })
    const other = await scene.start(receiver.env)
    await stateIs(other, 'needs_sign_in')
    await keeper.kill()
    receiver.answer(accept)
    await waitUntil(() => other.log().includes('notice sent: The owner was told: lost.'), { what: 'the other sent it' })
    expect(record(scene.dir)).toMatchObject({ condition: 'lost', delivered: true })
  })

  it('gives way to what is true by then', async (context) => {
    const receiver = await startReceiver(context)
    const scene = await setScene(context, 'valid')
    placeRecord(scene.dir, { condition: 'lost', delivered: false })
    await scene.start(receiver.env)
    await expectTold(receiver, 'well')
  })

  it('delays neither a caller, nor a refresh, nor the look at the store, nor the end', async (context) => {
    const receiver = await startReceiver(context)
    receiver.answer(hang)
    const scene = await setScene(context, 'valid')
    placeRecord(scene.dir, { condition: 'well', delivered: false })
    const keeper = await scene.start(receiver.env)
    await waitUntil(() => receiver.received.length === 1, { what: 'it was tried' })
    const { response } = receiver.received[0] as Received
    expect(await askToken(keeper)).toMatchObject({ status: 200, body: { access_token: scene.first.access_token } })
    expect(await refresh(keeper)).toMatchObject({ status: 200 })
    expect(readFileSync(join(scene.dir, TOKEN), 'utf8')).toBe(scene.yoto.currentRefreshToken())
    expect(scene.yoto.counts.refresh_ok).toBe(1)
    rmSync(join(scene.dir, TOKEN)) // what only the look at the store, twice a second, can notice
    await stateIs(keeper, 'signed_out')
    expect(response.destroyed).toBe(false)
    const since = performance.now()
    expect(await keeper.stop()).toEqual({ code: 0, signal: null })
    expect(performance.now() - since).toBeLessThan(3_000)
    expect(keeper.log()).not.toContain('notice failed')
    expect(record(scene.dir)).toMatchObject({ condition: 'well', at: HOURS_AGO, delivered: false })
  })
})

it('nothing secret is sent, and the address is told to nobody', async (context) => {
  const receiver = await startReceiver(context)
  const scene = await setScene(context, 'none', { expiresIn: 20 })
  const { yoto, dir, first } = scene
  const env = { ...receiver.env, YOTO_CLIENT_SECRET: 'hush-hush-client', KEEPER_KEY: 'hush-hush-keeper-key' }
  const keeper = await scene.start(env)
  await expectSignedIn(keeper, scene)
  const second = yoto.currentRefreshToken()
  const access = (await askToken(keeper)).body.access_token ?? ''
  const answers: string[] = []
  const listen = async () => {
    for (const path of ['/', '/api/auth/status', '/api/journal', '/api/ready', '/api/token']) {
      answers.push(await (await keeper.fetch(path)).text())
    }
  }
  // Refused in words that quote what was sent, while the receiver cannot be reached, and then when it quotes it too.
  await receiver.pause()
  const body = { error: 'invalid_grant', error_description: `No ${second}, no {{.braces}}, no hush-hush-client.` }
  yoto.inject({ kind: 'status', status: 403, body }, FOR_REFRESH)
  await waitUntil(() => keeper.log().includes('notice failed'), { timeout: 30_000, what: 'it could not be told' })
  await listen()
  receiver.answer((response) => void response.writeHead(500, 'hush').end(`not ${receiver.env.NOTIFY_URL}`))
  await receiver.resume()
  await waitUntil(() => receiver.received.length > 0, { what: 'it was refused' })
  receiver.answer((response) => void response.writeHead(302, { location: receiver.env.NOTIFY_URL }).end())
  await waitUntil(() => keeper.log().includes('it answered 302'), { what: 'it was sent elsewhere' })
  receiver.answer(accept)
  await expectDelivered(dir)
  await listen()
  await keeper.stop()

  const told = receiver.received.map(({ headers, text }) => JSON.stringify(headers) + text).join()
  expect(told).toContain('sign-in to Yoto is lost')
  expect(told).not.toContain('braces')
  const journal = readFileSync(join(dir, '.yoto_journal.json'), 'utf8')
  expect(journal).toContain('NOTIFY_URL')
  const notices = readFileSync(join(dir, RECORD), 'utf8')
  for (const secret of [
    first.refresh_token,
    first.access_token,
    second,
    access,
    'hush-hush-client',
    'hush-hush-keeper',
  ]) {
    expect(secret).toMatch(/.{8,}/)
    expect(told).not.toContain(secret)
    expect(notices).not.toContain(secret)
  }
  const port = new URL(receiver.env.NOTIFY_URL).port
  for (const where of [keeper.log(), journal, notices, ...answers]) {
    for (const part of ['hush-hush-topic', 'hush-hush-token', `:${port}`]) expect(where).not.toContain(part)
  }
})
