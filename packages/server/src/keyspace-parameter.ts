import { CordilleraError } from '@cordillera/base'
import { isKeyspaceName } from '@cordillera/ranges'

/** The keyspace that a parameter names. Throws BAD_REQUEST for what cannot be one; a new one needs no founding. */
export function keyspaceOf(parameter: string): string {
  if (isKeyspaceName(parameter)) return parameter
  throw new CordilleraError('BAD_REQUEST', {
    detail: 'a keyspace is named by a letter or digit, then at most 63 letters, digits, dots, - and _',
  })
}
