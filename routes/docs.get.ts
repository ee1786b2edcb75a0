import { eventHandler, getHeader, setResponseHeader } from 'h3'
import { ownOrigin } from '../server/http/own-origin'
import { apiDocument } from '../server/openapi/document'
import { docsPage } from '../server/page/docs'
import { useService } from '../server/service'

/** The API's description for people. */
export default eventHandler(async (event) => {
  const { config } = await useService()
  setResponseHeader(event, 'content-type', 'text/html; charset=utf-8')
  return docsPage(apiDocument(), ownOrigin(config, getHeader(event, 'host')))
})
