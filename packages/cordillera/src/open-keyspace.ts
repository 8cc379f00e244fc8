import { keyspaceSpan, systemKey } from '@cordillera/ranges'
import type { StoreOptions } from './database/database.js'
import type { DatabaseStore } from './database/database-store.js'
import { LevelError } from './database/level-error.js'
import { missing } from './local-nodes.js'

/**
 * Opens a keyspace by the rules of `createIfMissing` and `errorIfExists`.
 *
 * A keyspace exists when it was opened before, of which the system range keeps a record, or has an entry: whoever writes
 * over HTTP makes a keyspace without opening it.
 */
export async function openKeyspace(
  store: Pick<DatabaseStore, 'get' | 'put' | 'scan' | 'openSnapshot'>,
  { keyspace, createIfMissing, errorIfExists }: StoreOptions,
): Promise<void> {
  const isRecorded = await hasRecord(store, keyspace)
  if (isRecorded && !errorIfExists) return
  const exists = isRecorded || (await hasEntry(store, keyspace))
  if (exists && errorIfExists) {
    throw new LevelError('LEVEL_EXISTS', `keyspace ${keyspace} exists (errorIfExists is true)`)
  }
  if (!exists && !createIfMissing) throw missing(`keyspace ${keyspace}`)
  await record(store, keyspace)
}

function hasRecord(store: Pick<DatabaseStore, 'get'>, keyspace: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    store.get(recordKey(keyspace), 0, (error, found) => {
      if (error === undefined) resolve(found !== undefined)
      else reject(error)
    })
  })
}

async function hasEntry(store: Pick<DatabaseStore, 'scan' | 'openSnapshot'>, keyspace: string): Promise<boolean> {
  const snapshot = await store.openSnapshot()
  try {
    const span = keyspaceSpan(keyspace)
    const plan = { ...span, reverse: false, limit: 1, bytesMax: 1, values: false, at: snapshot.version }
    return (await store.scan(plan)).entries.length > 0
  } finally {
    snapshot.close()
  }
}

function record(store: Pick<DatabaseStore, 'put'>, keyspace: string): Promise<void> {
  const value = new TextEncoder().encode(JSON.stringify({ keyspace }))
  return new Promise((resolve, reject) => {
    store.put(recordKey(keyspace), value, (error) => (error === undefined ? resolve() : reject(error)))
  })
}

const recordKey = (keyspace: string): string => systemKey('keyspace', keyspace)
