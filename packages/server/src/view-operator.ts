import { encodeEntry } from './key-codec.js'
import type { OperatorInfo } from './operator-schemas.js'

/** An operator as JSON spells it: its key, of which the node gives the bytes, as text, or in base64url where it is none. */
export function viewOperator(operator: OperatorInfo): OperatorInfo {
  const { goal } = operator
  if (goal?.key === undefined) return operator
  return { ...operator, goal: { ...goal, ...encodeEntry(goal.key, undefined, 'text') } }
}
