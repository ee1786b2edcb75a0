import page from 'raw:../server/page/page.html'
import { eventHandler, setResponseHeader } from 'h3'

export default eventHandler((event) => {
  setResponseHeader(event, 'content-type', 'text/html; charset=utf-8')
  return page
})
