import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/**
 * The part of Yoto's API that the examples call, with an invented family.
 *
 * Shapes, looked up and not tried against Yoto: the list of players, the library, the upload of an icon and the form of an error are as
 * yoto.dev/api shows them (getdevices, getfamilylibrary, uploadcustomicon, getcontent). `device.status` in a player's config is documented
 * nowhere; its fields are what the clients yoto_api (4.3) and yoto-nodejs-client read. Both take it in place of `/status`, which needs
 * a scope that Yoto no longer lists and is answered with 403 without it. Fields that the examples do not read are left out, save a few.
 * Not verified: which scope each call needs (here none), and what Yoto says to a bad token.
 */

export interface ApiRequest {
  /** The `sub` of the access token. */
  account: string
  query: Record<string, string | string[] | undefined>
  /** What the path's pattern caught. */
  id: string
  request: IncomingMessage
}

/** undefined: there is no such thing. */
type Route = (request: ApiRequest) => unknown

const ROUTES: [method: string, path: RegExp, route: Route][] = [
  ['GET', /^\/v1\/whoami$/, ({ account }) => ({ sub: account })],
  ['GET', /^\/device-v2\/devices\/mine$/, () => ({ devices: PLAYERS.map(({ device }) => device) })],
  ['GET', /^\/device-v2\/([^/]+)\/config$/, playerConfig],
  ['GET', /^\/card\/family\/library$/, () => ({ cards: CARDS, subscriptions: [] })],
  ['POST', /^\/media\/displayIcons\/user\/me\/upload$/, uploadIcon],
]

/** undefined: not a path of the API. */
export function findRoute(method: string, path: string): { id: string; route: Route } | undefined {
  for (const [of, pattern, route] of ROUTES) {
    const match = of === method && pattern.exec(path)
    if (match) return { id: match[1] ?? '', route }
  }
}

const player = (deviceId: string, name: string, online: boolean, family: string, status: object) => ({
  device: {
    ...{ deviceId, name, description: 'demo.player', online, releaseChannel: 'general', hasUserGivenName: true },
    ...{ deviceType: family, deviceFamily: family, deviceGroup: '', generation: 'gen3' },
    formFactor: family === 'mini' ? 'mini' : 'standard',
  },
  status: { deviceId, ...status },
})

/** Flags are 0 and 1 in `status`, and `temp` is "battery:player", each a number, "0" for unknown, or "notSupported". */
const PLAYERS = [
  player('y2demokitchen0000000000000', 'Kitchen', true, 'v3', {
    ...{ batteryLevel: 73, charging: 0, powerSrc: 0, temp: '24:21', activeCard: 'none', cardInserted: 0 },
    ...{ userVolume: 50, volume: 100, wifiStrength: -55, updatedAt: '2026-11-02T07:15:00.000Z' },
  }),
  player('y2demobedroom0000000000000', 'Bedroom “Mini”', false, 'mini', {
    ...{ batteryLevel: 9, charging: 1, powerSrc: 2, temp: '0:notSupported', activeCard: 'D3m01', cardInserted: 1 },
    ...{ userVolume: 31, volume: 62, wifiStrength: -71, updatedAt: '2026-11-01T19:40:12.000Z' },
  }),
]

function playerConfig({ id }: ApiRequest): unknown {
  const found = PLAYERS.find(({ device }) => device.deviceId === id)
  if (!found) return undefined
  const { device, status } = found
  return {
    device: {
      ...{ deviceId: device.deviceId, name: device.name, online: device.online, status },
      ...{ deviceFamily: device.deviceFamily, deviceType: device.deviceType, deviceGroup: device.deviceGroup },
      ...{ errorCode: null, geoTimezone: 'Europe/London', releaseChannelVersion: 'v2.23.2' },
      config: {
        locale: 'en',
        dayTime: '07:00',
        nightTime: '19:20',
        maxVolumeLimit: '16',
        nightMaxVolumeLimit: '8',
        alarms: [],
      },
    },
  }
}

const card = (cardId: string, title: string, author: string, category: string, duration: number, made = false) => ({
  ...{ cardId, addedAt: '2026-05-29T11:56:14.555Z', inFamilyLibrary: !made },
  card: {
    ...{ cardId, title, slug: cardId.toLowerCase(), availability: '', createdAt: '2026-05-01T09:00:00.000Z' },
    content: { activity: 'yoto_Player', version: '1', chapters: [], config: {}, editSettings: {} },
    metadata: { author, category, cover: {}, media: { duration, fileSize: duration * 16_000, hasStreams: false } },
  },
})

/** `duration` is in seconds. What a family has made itself is in its library too, with `inFamilyLibrary` false. */
const CARDS = [
  card('D3m01', 'The Lighthouse at Night', 'A. Keeper', 'stories', 2_520),
  card('D3m02', 'Songs for the Bath', 'The Ducks', 'music', 1_419),
  card('D3m03', 'Grandma tells', '', 'none', 605, true),
]

/** The binary is the body. Where the same icon was there before, Yoto leaves `new` out and `url` empty. */
async function uploadIcon({ account, request }: ApiRequest): Promise<unknown> {
  const hash = createHash('sha256')
  for await (const chunk of request) hash.update(chunk)
  const mediaId = hash.digest('base64url')
  const displayIconId = mediaId.slice(0, 24)
  return {
    displayIcon: { mediaId, userId: account, displayIconId, url: `https://example.com/icons/${mediaId}`, new: true },
  }
}
