/**
 * In place of Nitro's entries for bun and deno-server, which hide the caller's address, tidy paths, read bodies whole and know no
 * shutdown. Both have Node's HTTP server, and with Nitro's entry for that they do as Node does.
 */
export { default } from 'nitropack/presets/node/runtime/node-server'
