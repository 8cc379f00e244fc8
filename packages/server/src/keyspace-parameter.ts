import { CordilleraError } from '@cordillera/base'
import { isKeyspaceName } from '@cordillera/ranges'

/** Which keyspace: a spread one is another than the plain one of its name. */
export interface KeyspaceChoice {
  readonly keyspace: string
  readonly spread: boolean
}

/**
 * The keyspace that the parameters `keyspace` and `spread` name; undefined when they name none. A new one needs no
 * founding. Throws BAD_REQUEST for what cannot be one.
 */
export function chosenKeyspace(
  keyspace: string | undefined,
  spread: boolean | undefined = false,
): KeyspaceChoice | undefined {
  if (keyspace === undefined) {
    if (!spread) return undefined
    throw new CordilleraError('BAD_REQUEST', { detail: 'spread says how a keyspace is kept, and none is named' })
  }
  if (isKeyspaceName(keyspace)) return { keyspace, spread }
  throw new CordilleraError('BAD_REQUEST', {
    detail: 'a keyspace is named by a letter or digit, then at most 63 letters, digits, dots, - and _',
  })
}
