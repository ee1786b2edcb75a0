export { default } from '../guarded/nitro.config'
