import { eventHandler, proxyRequest } from 'h3'

const upstream = process.env.YOTO_API_URL ?? ''

export default eventHandler((event) => proxyRequest(event, upstream + event.path.slice('/api/yoto'.length)))
