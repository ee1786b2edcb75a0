import { cpus, totalmem } from 'node:os'
import type { Spread } from './turns'

export interface Row {
  what: string
  beside: string
  /** Both sides' own figures, in words. */
  figures: string
  /** What is held against the target: as a rule a ratio. */
  result: Spread
  unit?: string
  /** None: for comparison only. */
  target?: { comparison: '>=' | '<='; value: number }
  /** The same of two that are alike: what this machine makes of no difference at all. */
  control?: Spread
}

export function isMet({ result, target }: Row): boolean {
  if (!target) return true
  return target.comparison === '>=' ? result.median >= target.value : result.median <= target.value
}

/** In Markdown. */
export function tableOf(rows: Row[]): string {
  const head = ['what', 'beside', 'figures', 'result (middle half)', 'A/A control', 'target', '']
  const lines = rows.map((row) => [
    row.what,
    row.beside,
    row.figures,
    inWords(row.result, row.unit),
    row.control ? inWords(row.control) : '',
    row.target ? `${row.target.comparison} ${number(row.target.value, row.unit)}` : '',
    row.target ? (isMet(row) ? 'met' : '**missed**') : '',
  ])
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

export function measuredOn(rounds: number, versions: Record<string, string>): string {
  const processors = cpus()
  const parts = Object.entries({ Node: process.version, ...versions }).map(([name, version]) => `${name} ${version}`)
  const memory = `${(totalmem() / 2 ** 30).toFixed(0)} GiB`
  const machine = `${processors.length} × ${processors[0]?.model ?? 'unknown'}, ${memory}, ${process.platform}`
  return `Measured on ${machine}; ${parts.join(', ')}; ${rounds} rounds in turns; one run, ${new Date().toISOString().slice(0, 10)}.`
}

function inWords({ median, from, to }: Spread, unit?: string): string {
  const middle = from === to ? '' : ` (${number(from, unit)} – ${number(to, unit)})`
  return `${number(median, unit)}${middle}`
}

/** A ratio, where there is no unit. */
function number(value: number, unit?: string): string {
  return unit ? `${value.toFixed(0)} ${unit}` : value.toFixed(2)
}
