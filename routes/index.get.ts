import { staticText } from '../server/http/static-text'
import { pageMarkup } from '../server/page/page'

export default staticText(pageMarkup(), 'text/html')
