import script from 'raw:../../server/page/client/use-it.js'
import { staticText } from '../../server/http/static-text'

export default staticText(script, 'text/javascript')
