import type { Reporter, TestCase, TestModule } from 'vitest/node'

/** Prints what came of the list: a row a check, a column a platform, and below it every remark and every "no". */
export default class Table implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]).filter((test) => test.meta().preset)
    const presets = [...new Set(tests.map((test) => test.meta().preset ?? ''))]
    const checks = [...new Set(tests.map((test) => test.meta().check).filter((check) => check !== undefined))]
    const find = (preset: string, check?: string) =>
      tests.find((test) => test.meta().preset === preset && test.meta().check === check)

    const rows = [
      ['', ...presets],
      ...checks.map((check) => [check, ...presets.map((preset) => wordFor(find(preset, check)))]),
      ['kB, gzip', ...presets.map((preset) => ((find(preset)?.meta().size ?? 0) / 1000).toFixed(0))],
    ]
    console.log(`\n${aligned(rows)}\n`)
    for (const preset of presets) {
      const { runtime, store } = find(preset)?.meta() ?? {}
      console.log(`${preset}: ${runtime}; state in ${store}`)
    }
    const remarks = new Map<string, string[]>()
    for (const test of tests) {
      const { preset = '', check, remark } = test.meta()
      if (!remark) continue
      const line = `${check}: ${test.result().state === 'skipped' ? 'no, ' : ''}${remark}`
      remarks.set(line, [...(remarks.get(line) ?? []), preset])
    }
    console.log()
    for (const [line, of] of remarks) console.log(`${line} (${of.join(', ')})`)
  }
}

function wordFor(test: TestCase | undefined): string {
  const words = { passed: 'ok', failed: 'FAILED', skipped: 'no', pending: '?' }
  return words[test?.result().state ?? 'pending']
}

function aligned(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
