import { CordilleraError } from '@cordillera/base'

/** One line on standard error: the code, what was wrong, and what to do. */
export function printError(error: unknown): void {
  process.stderr.write(`cordillera: ${errorLine(error)}\n`)
}

export function errorLine(error: unknown): string {
  if (!(error instanceof CordilleraError)) return `INTERNAL: ${error instanceof Error ? error.message : String(error)}`
  return `${error.code}: ${error.message}${remedy(error)}`.replaceAll(/\s*\n\s*/g, ' ')
}

/** What to do: what the error itself knows, else what its code allows. */
function remedy(error: CordilleraError): string {
  if (typeof error.details?.remedy === 'string') return ` (${error.details.remedy})`
  if (error.code === 'OUTCOME_UNKNOWN') return ' (read the key to see whether it took effect)'
  switch (error.retry) {
    case 'same-node':
      return ' (try again in a moment)'
    case 'other-node':
      return ' (try again, or another node with --endpoint)'
    default:
      return ''
  }
}
