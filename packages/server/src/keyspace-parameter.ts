import { CordilleraError } from '@cordillera/base'
import { isKeyspaceName } from '@cordillera/ranges'

/** Which keyspace: a spread one is another than the plain one of its name. */
export interface KeyspaceChoice {
  readonly keyspace: string
  readonly spread: boolean
}

/** The keyspace that the parameters name; undefined when they name none. Throws as {@link checkKeyspace}. */
export function chosenKeyspace(
  keyspace: string | undefined,
  spread: boolean | undefined = false,
): KeyspaceChoice | undefined {
  checkKeyspace(keyspace, spread)
  return keyspace === undefined ? undefined : { keyspace, spread }
}

/** Throws BAD_REQUEST unless the parameters name a keyspace, or none. A new one needs no founding. */
export function checkKeyspace(keyspace: string | undefined, spread: boolean): void {
  if (keyspace === undefined) {
    if (!spread) return
    throw new CordilleraError('BAD_REQUEST', { detail: 'spread says how a keyspace is kept, and none is named' })
  }
  if (isKeyspaceName(keyspace)) return
  throw new CordilleraError('BAD_REQUEST', {
    detail: 'a keyspace is named by a letter or digit, then at most 63 letters, digits, dots, - and _',
  })
}
