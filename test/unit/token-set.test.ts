import { describe, expect, it } from 'vitest'
import {
  fingerprintOf,
  lifetime,
  margin,
  refreshAheadAt,
  type TokenSet,
  timeLeft,
  tokenSetFrom,
} from '../../server/keeper/token-set'

const SECOND = 1_000
const HOUR = 3_600_000
const SENT = { wall: Date.parse('2026-11-01T12:00:00Z'), monotonic: 5_000 }
const BEFORE = { refreshToken: 'rt-0', clientId: 'client' }

const setOf = (expiresIn: number, accessToken = 'at') => tokenSetFrom({ accessToken, expiresIn }, SENT, BEFORE)

/** A set and two clocks, each this far from the moment of sending. */
function left(set: TokenSet, wall: number, monotonic = wall): number {
  return timeLeft(set, { wall: () => SENT.wall + wall, monotonic: () => SENT.monotonic + monotonic })
}

describe('fingerprint', () => {
  it.each([
    // FIPS 180-4's examples
    ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    [
      'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    ],
  ])('is the SHA-256 of %s', async (token, expected) => {
    expect(fingerprintOf(token)).toBe(expected)
  })
})

describe('a token set', () => {
  it('is what was issued', async () => {
    const tokens = { accessToken: 'at', refreshToken: 'rt-1', expiresIn: HOUR, scope: 'offline_access' }
    expect(tokenSetFrom(tokens, SENT, BEFORE)).toEqual({
      accessToken: 'at',
      refreshToken: 'rt-1',
      fingerprint: fingerprintOf('rt-1'),
      family: fingerprintOf('rt-1'),
      rotation: 0,
      issuedAt: SENT.wall,
      expiresAt: SENT.wall + HOUR,
      scope: 'offline_access',
      subject: undefined,
      clientId: 'client',
      anchor: { monotonic: SENT.monotonic, left: HOUR },
    })
  })

  it('keeps the refresh token when no new one was issued', async () => {
    const set = await setOf(HOUR)
    expect(set).toMatchObject({ refreshToken: 'rt-0', fingerprint: fingerprintOf('rt-0') })
  })

  it('keeps its family through rotations', async () => {
    let set = tokenSetFrom({ accessToken: 'at', refreshToken: 'rt-1', expiresIn: HOUR }, SENT, BEFORE)
    const family = fingerprintOf('rt-1')
    for (const refreshToken of ['rt-2', undefined, 'rt-3']) {
      set = tokenSetFrom({ accessToken: 'at', refreshToken, expiresIn: HOUR }, SENT, set)
      expect(set.family).toBe(family)
    }
    expect(set.fingerprint).toBe(fingerprintOf('rt-3'))
  })
})

describe('time left', () => {
  it.each([
    ['at the moment of sending', 0, 0, HOUR],
    ['later', 10 * SECOND, 10 * SECOND, HOUR - 10 * SECOND],
    ['at the end', HOUR, HOUR, 0],
    ['after the end', 2 * HOUR, 2 * HOUR, -HOUR],
    ['when the wall clock was set forward', 24 * HOUR, 10 * SECOND, -23 * HOUR],
    ['when the wall clock was set back, but not before the issue', 1 * SECOND, 30 * SECOND, HOUR - 30 * SECOND],
    ['when the wall clock was set back before the issue', -1, 30 * SECOND, 0],
    ['when the wall clock was set back by a day', -24 * HOUR, 30 * SECOND, 0],
    ['when the wall clock stands still', 0, 2 * HOUR, -HOUR],
    ['when the machine slept', 50 * 60 * SECOND, 10 * SECOND, 10 * 60 * SECOND],
  ])('%s', async (_, wall, monotonic, expected) => {
    expect(left(await setOf(HOUR), wall, monotonic)).toBe(expected)
  })
})

describe('margin and refresh ahead', () => {
  it.each([
    // lifetime, interval, margin, what is left when it is time to refresh ahead
    [24 * HOUR, 12 * HOUR, 60 * SECOND, 12 * HOUR],
    [24 * HOUR, 1 * HOUR, 60 * SECOND, 23 * HOUR],
    [24 * HOUR, 23 * HOUR, 60 * SECOND, 6 * HOUR],
    [16 * HOUR, 12 * HOUR, 60 * SECOND, 4 * HOUR],
    [8 * HOUR, 12 * HOUR, 60 * SECOND, 2 * HOUR],
    [600 * SECOND, 12 * HOUR, 60 * SECOND, 150 * SECOND],
    [300 * SECOND, 12 * HOUR, 30 * SECOND, 75 * SECOND],
  ])('of a token that lives %d ms, with an interval of %d ms', async (lives, interval, expected, ahead) => {
    const set = await setOf(lives)
    expect(lifetime(set)).toBe(lives)
    expect(margin(set)).toBeCloseTo(expected)
    expect(refreshAheadAt(set, interval)).toBeCloseTo(ahead)
  })

  it.each([1, 2, 4, 10, 60])('leave a tenth or more of a token that lives %d s', async (lives) => {
    expect(margin(await setOf(lives * SECOND))).toBeGreaterThanOrEqual(lives * SECOND * 0.1)
  })

  it.each([10, 60, 3_600, 86_400])('leave time for a refresh in the background at %d s', async (lives) => {
    const set = await setOf(lives * SECOND)
    expect(margin(set)).toBeLessThan(refreshAheadAt(set, 12 * HOUR))
  })
})

describe('subject', () => {
  const part = (value: string) => Buffer.from(value).toString('base64url')
  const jwt = (claims: unknown) => `${part('{"alg":"RS256"}')}.${part(JSON.stringify(claims))}.signature`
  it.each([
    ['a JWT', jwt({ sub: 'auth0|0123' }), 'auth0|0123'],
    ['a JWT with other letters than ASCII', jwt({ sub: 'zoë?>~ÿ' }), 'zoë?>~ÿ'],
    ['a JWT with a long one', jwt({ sub: 'x'.repeat(500) }), 'x'.repeat(200)],
    ['a JWT without one', jwt({ aud: 'x' }), undefined],
    ['a JWT with a number', jwt({ sub: 7 }), undefined],
    ['a JWT of null', jwt(null), undefined],
    ['a JWT of an array', jwt([]), undefined],
    ['an opaque token', 'at-0123', undefined],
    ['nothing', '', undefined],
    ['dots', '..', undefined],
    ['what is no base64', 'a.§§§.c', undefined],
    ['what is no JSON', `a.${part('hello')}.c`, undefined],
    ['an encrypted JWT', 'a.b.c.d.e', undefined],
  ])('of %s', async (_, accessToken, expected) => {
    expect((await setOf(HOUR, accessToken)).subject).toBe(expected)
  })
})
