/**
 * From the figures of every round to what is printed and kept: medians, and the ratio to the bare server of the same
 * round.
 */
const MEDIANS = [
  'requestsPerSec',
  'p50Ms',
  'p99Ms',
  'cpuMicrosPerRequest',
  'clientCpuMicrosPerRequest',
  'entriesPerSync',
  'writesPerSync',
]

/** @param rounds a map from a scenario's name to its figures, for each round */
export function summarise(scenarios, rounds) {
  return scenarios.map(({ name, target, operation, connections }) => {
    const figures = rounds.map((round) => round.get(name))
    const row = { name }
    for (const figure of MEDIANS) {
      const values = figures.map((one) => one[figure]).filter((value) => value !== undefined)
      if (values.length > 0) row[figure] = rounded(median(values))
    }
    if (target !== 'bare') {
      const bare = `${operation}-${connections}-bare`
      const ratios = rounds.map((round) => round.get(name).requestsPerSec / round.get(bare).requestsPerSec)
      row.ratio = rounded(median(ratios))
      row.ratioMin = rounded(Math.min(...ratios))
      row.ratioMax = rounded(Math.max(...ratios))
    }
    const errors = figures.map((one) => one.errors).filter((one) => Object.keys(one).length > 0)
    if (errors.length > 0) row.errors = errors
    return row
  })
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Titles, figures and digits behind the point. */
const COLUMNS = [
  ['', 'name'],
  ['req/s', 'requestsPerSec', 0],
  ['p50 ms', 'p50Ms', 2],
  ['p99 ms', 'p99Ms', 2],
  ['of bare', 'ratio', 2],
  ['CPU µs/req', 'cpuMicrosPerRequest', 0],
  ['client µs/req', 'clientCpuMicrosPerRequest', 0],
  ['entries/sync', 'entriesPerSync', 1],
  ['writes/sync', 'writesPerSync', 1],
]

export function formatRows(rows, columns = COLUMNS) {
  const cells = [
    columns.map(([title]) => title),
    ...rows.map((row) => columns.map(([, figure, digits]) => formatCell(row[figure], digits))),
  ]
  const widths = columns.map((_, column) => Math.max(...cells.map((line) => line[column].length)))
  return cells
    .map((line) => line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '))
    .join('\n')
}

function formatCell(value, digits) {
  if (value === undefined) return ''
  return typeof value === 'number' ? value.toFixed(digits) : value
}

export function formatGoals(goals, rows) {
  return goals.flatMap(({ scenarios, figure, atLeast, is }) =>
    rows
      .filter(({ name }) => scenarios.includes(name))
      .map(
        (row) =>
          `${row[figure] >= atLeast ? 'reached' : 'MISSED '}  ${row.name}: ${row[figure]} ${is}, goal ${atLeast}`,
      ),
  )
}

/** Four significant digits are more than the noise leaves. */
export function rounded(value) {
  return Number(value.toPrecision(4))
}
