import script from 'raw:../../server/page/client/parts.js'
import { staticText } from '../../server/http/static-text'

export default staticText(script, 'text/javascript')
