import style from 'raw:../server/page/style.css'
import { eventHandler, setResponseHeader } from 'h3'

export default eventHandler((event) => {
  setResponseHeader(event, 'content-type', 'text/css; charset=utf-8')
  setResponseHeader(event, 'cache-control', 'no-cache')
  return style
})
