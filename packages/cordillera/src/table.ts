/** Plain columns for a terminal: a heading line, two spaces between, numbers to the right, control characters escaped. */
export function formatTable(headings: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const texts = rows.map((row) => row.map(cellText))
  const widths = headings.map((heading, i) => Math.max(width(heading), ...texts.map((row) => width(row[i]!))))
  const line = (cells: readonly string[], row?: readonly Cell[]): string =>
    cells
      .map((cell, i) => {
        const space = ' '.repeat(widths[i]! - width(cell))
        return typeof row?.[i] === 'number' ? space + cell : cell + space
      })
      .join('  ')
      .trimEnd()
  return [line(headings), ...texts.map((cells, i) => line(cells, rows[i]))].map((text) => `${text}\n`).join('')
}

/** One thing: its facts, one below the other, in their order. Those that are undefined are left out. */
export function formatFacts(
  heading: readonly [string, Cell],
  facts: Readonly<Record<string, Cell | undefined>>,
): string {
  const rows = Object.entries(facts).flatMap(([name, fact]) => (fact === undefined ? [] : [[name, factText(fact)]]))
  return formatTable([heading[0], factText(heading[1])], rows)
}

function factText(fact: Cell): string {
  return fact === null ? '-' : String(fact)
}

export type Cell = string | number | boolean | null

function cellText(cell: Cell): string {
  if (cell === null) return '-'
  return String(cell).replace(CONTROL, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Controls, and what would reorder the line. */
const CONTROL = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu

function width(text: string): number {
  return [...text].length
}
