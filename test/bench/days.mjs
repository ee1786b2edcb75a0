/** Loaded into the service ahead of it: a day passes at every message. Only the clocks are moved; what the service does is its own. */

const [wall, monotonic] = [Date.now, performance.now.bind(performance)]
let passed = 0

Date.now = () => wall() + passed
performance.now = () => monotonic() + passed

process.on('message', () => {
  passed += 86_400_000
  process.send?.('passed')
})
