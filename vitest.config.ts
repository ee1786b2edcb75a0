import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Most tests wait for processes, not for the processor.
    maxWorkers: 4,
    // These end what hangs, and no more: a build takes 7 s alone, and 46 s beside six others on two cores.
    testTimeout: 120_000,
    hookTimeout: 300_000,
    reporters: ['default', './test/support/closing-line.ts'],
  },
})
