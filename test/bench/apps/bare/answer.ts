const { BENCH_TOKEN: access_token, BENCH_EXPIRES_AT: expires_at = '' } = process.env
const end = Date.parse(expires_at)

/** What the service answers for the same token. */
export function answer() {
  return { access_token, token_type: 'Bearer', expires_in: Math.floor((end - Date.now()) / 1000), expires_at }
}
