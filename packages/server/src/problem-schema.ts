import { type ErrorCode, errorKinds } from '@cordillera/base'
import { type Static, Type } from 'typebox'
import { OperatorSchema } from './operator-schemas.js'

/** RFC 9457, with every code of the registry. */
const codes = Object.keys(errorKinds) as ErrorCode[]

export const ProblemSchema = Type.Object(
  {
    type: Type.String({ description: 'A URN that names the code; it identifies and does not resolve.' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'The particulars: what was wrong, and what to do.' }),
    code: Type.Unsafe<ErrorCode>({
      type: 'string',
      enum: codes,
      description: codes
        .map((code) => `\`${code}\` (${errorKinds[code].status}): ${errorKinds[code].title}.`)
        .join(' '),
    }),
    retry: Type.Enum(['never', 'same-node', 'other-node', 'refresh-route'], {
      description: 'What may be done without risk: the same request later, to another node, or where the range is now.',
    }),
    operator: Type.Optional(OperatorSchema),
  },
  { description: 'RFC 9457. `operator` is there when an operator that was waited for did not succeed.' },
)
export type Problem = Readonly<Static<typeof ProblemSchema>>
