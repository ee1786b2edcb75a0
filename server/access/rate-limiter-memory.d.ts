/** The package's index pulls in a dozen stores' limiters; its file for memory has no types of its own. */
declare module 'rate-limiter-flexible/lib/RateLimiterMemory.js' {
  export { RateLimiterMemory as default } from 'rate-limiter-flexible'
}
