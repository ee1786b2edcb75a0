import script from 'raw:../server/page/client.js'
import { eventHandler, setResponseHeader } from 'h3'

export default eventHandler((event) => {
  setResponseHeader(event, 'content-type', 'text/javascript; charset=utf-8')
  setResponseHeader(event, 'cache-control', 'no-cache')
  return script
})
