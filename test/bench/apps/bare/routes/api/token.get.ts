import { eventHandler } from 'h3'
import { answer } from '../../answer'

export default eventHandler(() => answer())
