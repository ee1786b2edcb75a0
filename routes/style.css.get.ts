import style from 'raw:../server/page/style.css'
import { staticText } from '../server/http/static-text'

export default staticText(style, 'text/css')
