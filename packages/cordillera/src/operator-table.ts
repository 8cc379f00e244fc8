import type { OperatorInfo } from '@cordillera/server'
import { type Cell, formatTable } from './table.js'

/** Operators for a terminal, a line each; the last column is what came of it, or what it is doing. */
export function formatOperators(operators: readonly OperatorInfo[]): string {
  return formatTable(
    ['OPERATOR', 'KIND', 'RANGE', 'NODE', 'STATE', 'STARTED', 'DETAIL'],
    operators.map((operator): Cell[] => {
      const { operatorId, kind, rangeId, nodeId, state, startedAt } = operator
      return [operatorId, kind, rangeId, nodeId, state, startedAt, outcomeOf(operator)]
    }),
  )
}

export function outcomeOf({ error, result, step }: OperatorInfo): string {
  if (error !== undefined) return `${error.code}: ${error.detail}`
  const facts = Object.entries(result ?? {})
  return facts.length === 0 ? step : facts.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(', ')
}
