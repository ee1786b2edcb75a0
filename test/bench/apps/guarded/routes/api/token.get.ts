export { default } from '../../../bare/routes/api/token.get'
