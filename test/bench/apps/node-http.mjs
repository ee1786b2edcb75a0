import { createServer } from 'node:http'

const { BENCH_TOKEN: access_token, BENCH_EXPIRES_AT: expires_at = '', PORT, HOST } = process.env
const end = Date.parse(expires_at)

createServer((_, response) => {
  const expires_in = Math.floor((end - Date.now()) / 1000)
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ access_token, token_type: 'Bearer', expires_in, expires_at }))
}).listen(Number(PORT), HOST)
