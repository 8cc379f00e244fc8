import type { OperatorInfo } from '@cordillera/server'
import { type Cell, formatTable } from './table.js'

/** Operators for a terminal, a line each; GOAL is what it is to make of the range, the last column what came of it, or what it is doing. */
export function formatOperators(operators: readonly OperatorInfo[]): string {
  return formatTable(
    ['OPERATOR', 'KIND', 'RANGE', 'NODE', 'GOAL', 'STATE', 'STARTED', 'DETAIL'],
    operators.map((operator): Cell[] => {
      const { operatorId, kind, rangeId, nodeId, state, startedAt } = operator
      return [operatorId, kind, rangeId, nodeId, goalOf(operator), state, startedAt, outcomeOf(operator)]
    }),
  )
}

export function outcomeOf({ error, result, step }: OperatorInfo): string {
  if (error !== undefined) return `${error.code}: ${error.detail}`
  return factsOf(result ?? {}) ?? step
}

/** Null: kind, range and node say it. */
export function goalOf({ goal = {} }: OperatorInfo): string | null {
  return factsOf(goal) ?? null
}

function factsOf(facts: object): string | undefined {
  const all = Object.entries(facts)
  return all.length === 0 ? undefined : all.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(', ')
}
