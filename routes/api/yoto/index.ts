/** The API's root, which `[...path]` does not match. */
export { default } from './[...path]'
