import { createHash, timingSafeEqual } from 'node:crypto'
import { createError, eventHandler, getHeader, setResponseHeaders } from 'h3'

const digest = (text: string) => createHash('sha256').update(text).digest()
const expected = digest(process.env.KEEPER_KEY ?? '')
const headers = JSON.parse(process.env.BENCH_HEADERS ?? '{}')

/** The least that a guard can do: hash the key, compare in constant time, and set the same headers as the service. */
export default eventHandler((event) => {
  setResponseHeaders(event, headers)
  const key = getHeader(event, 'authorization')?.slice('Bearer '.length) ?? ''
  if (!timingSafeEqual(digest(key), expected)) throw createError({ statusCode: 401 })
})
