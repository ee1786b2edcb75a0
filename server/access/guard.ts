import { KeeperError } from '../errors'
import { PAGE_FILES } from '../page/files'
import { type Access, type Holder, unauthorized } from './access'

/** What the guard looks at. */
export interface Caller {
  /** As the router sees it, without the query. */
  path: string
  host: string
  origin?: string
  secFetchSite?: string
  authorization?: string
  session?: string
  /** Where the caller is, if that is known for certain. */
  address?: string
  /** The socket's address; known in `nitro dev` only. */
  devPeer?: string
}

/** Open to everybody; everything else, known or not, asks for a key. The callback has a proof of its own, the cookie that login set. */
const OPEN = new Set([...PAGE_FILES, '/api/health', '/api/ready', '/api/auth/callback'])
/** Open, but not to other sites' pages. */
const OPEN_TO_OURSELVES = new Set(['/api/access/unlock'])

/** All that a tool's key opens. */
function isForTools(path: string): boolean {
  return path === '/api/token' || path === '/api/yoto' || path.startsWith('/api/yoto/')
}

export function isOpen(path: string): boolean {
  return OPEN.has(path)
}

/**
 * Lets a caller pass or says why not.
 * @param options.dev `nitro dev`: no key is asked, but everything must be on this machine
 * @param options.publicUrls addresses that are ours beside the loopback ones
 * @returns whose key was shown, where one was
 * @throws KeeperError `unauthorized`, `forbidden`, `too_many_requests`, `not_configured`
 */
export async function admit(
  caller: Caller,
  access: Access,
  options: { dev: boolean; publicUrls: readonly string[] },
): Promise<Holder | undefined> {
  if (isOpen(caller.path)) return undefined
  const bearer = /^bearer +(\S+) *$/i.exec(caller.authorization ?? '')?.[1]
  if (bearer !== undefined) {
    const holder = await access.identify(bearer, caller.address)
    if (holder === 'owner' || isForTools(caller.path)) return holder
    throw new KeeperError('forbidden', "A tool's key reaches /api/token and /api/yoto/ only.", {
      hint: "Use the owner's key here.",
    })
  }
  if (options.dev && !isLoopbackAddress(caller.devPeer ?? '')) {
    throw new KeeperError('forbidden', 'In development only this machine is served.', {
      hint: 'Send the keeper key as a bearer token.',
    })
  }
  refuseOtherSites(caller, options)
  if (options.dev) return undefined
  access.requireKey()
  if (OPEN_TO_OURSELVES.has(caller.path)) return undefined
  if (caller.session !== undefined && (await access.isSession(caller.session))) return 'owner'
  throw unauthorized('The keeper key is needed.')
}

/** A browser acts for its person whoever wrote the page: so the page must be ours, and the name it was reached by too (DNS rebinding). */
function refuseOtherSites(caller: Caller, { dev, publicUrls }: { dev: boolean; publicUrls: readonly string[] }): void {
  const ours = publicUrls.map((url) => new URL(url).host)
  const isOurs = (host: string) => isLoopbackName(host) || (!dev && ours.includes(host.toLowerCase()))
  if (!isOurs(caller.host)) {
    throw new KeeperError('forbidden', 'The service is not known under this host name.', {
      hint: 'Set PUBLIC_URL to the address that it is reached at.',
    })
  }
  const sameOrigin = caller.origin === undefined || originHost(caller.origin) === caller.host.toLowerCase()
  const sameSite = caller.secFetchSite === undefined || ['same-origin', 'none'].includes(caller.secFetchSite)
  if (!sameOrigin || !sameSite) throw new KeeperError('forbidden', 'Pages of other sites may not call this service.')
}

function originHost(origin: string): string | undefined {
  return /^https?:\/\/([^/?#@]+)$/.exec(origin.toLowerCase())?.[1]
}

export function isLoopbackName(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i.test(host)
}

function isLoopbackAddress(address: string): boolean {
  return /^(::1|(::ffff:)?127(\.\d{1,3}){3})$/.test(address)
}
