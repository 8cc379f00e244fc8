import { CordilleraError } from '@cordillera/base'
import { DEFAULT_KEYSPACE, isKeyspaceName } from '@cordillera/ranges'
import { Cordillera, type DatabaseOptions, type StoreOptions } from './database/database.js'
import type { DatabaseStore } from './database/database-store.js'
import { useNode } from './local-nodes.js'
import { NodeStore } from './node-store.js'
import { openKeyspace } from './open-keyspace.js'

export interface OpenOptions<K, V> extends DatabaseOptions<K, V> {
  /**
   * Which keyspace of the location: a letter or digit, then up to 63 letters, digits, dots, underscores and hyphens. Each is a
   * database of its own.
   *
   * @defaultValue `'default'`
   */
  readonly keyspace?: string | undefined
}

/**
 * Opens a database whose node lives in this process, alone: one directory, nothing listens.
 *
 * It opens in the background; operations wait for that. Databases on one location in this process share the node, and the last
 * one to be closed stops it. `createIfMissing` (default true) and `errorIfExists` (default false) are about the keyspace:
 * one exists when it was opened before or has an entry. Opening fails with `LEVEL_DATABASE_NOT_OPEN`; its `cause` says why,
 * by its code `LEVEL_LOCKED` that another process has the directory.
 *
 * Throws TypeError without a location, and BAD_REQUEST for a keyspace that cannot be one.
 */
export function open<KDefault = string, VDefault = string>(
  location: string,
  options: OpenOptions<KDefault, VDefault> = {},
): Cordillera<KDefault, VDefault> {
  if (typeof location !== 'string' || location === '') {
    throw new TypeError("The first argument 'location' must be a non-empty string")
  }
  const { keyspace = DEFAULT_KEYSPACE, ...rest } = options
  if (!isKeyspaceName(keyspace)) {
    throw new CordilleraError('BAD_REQUEST', {
      detail: 'a keyspace is named by a letter or digit, then at most 63 letters, digits, dots, - and _',
    })
  }
  return new Cordillera({ keyspace, openStore: (wanted) => openStore(location, wanted) }, rest)
}

async function openStore(location: string, options: StoreOptions): Promise<DatabaseStore> {
  const { embedded, release } = await useNode(location, options.createIfMissing)
  const store = new NodeStore(embedded, release)
  try {
    await openKeyspace(store, options)
    return store
  } catch (error) {
    await store.close()
    throw error
  }
}
