/** What an app may be allowed in the dashboard (yoto.dev, scopes). */
const PUBLIC_SCOPES = new Set([
  ...['family:view', 'family:library:view', 'family:library:manage', 'user:content:view', 'user:content:manage'],
  ...['user:icons:manage', 'family:devices:view', 'family:devices:manage', 'family:devices:control'],
  ...['offline_access', 'openid', 'profile'],
])

/** Those of a list, separated by spaces, that Yoto has not made public. */
export function unknownScopes(scope: string): string[] {
  return scope.split(' ').filter((one) => !PUBLIC_SCOPES.has(one))
}
