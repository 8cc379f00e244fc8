import { createHash, randomBytes } from 'node:crypto'

/** The keys and values of the load; the same keys in every run, so that reads find what was written before. */
export const KEY_KINDS = {
  /** Spread evenly over the initial ranges. */
  hex: (i) => createHash('sha256').update(`${i}`).digest('hex').slice(0, 32),
  /** All in one of the initial ranges. */
  user: (i) => `user${`${i}`.padStart(12, '0')}`,
}

export const VALUE_BYTES = 256
const VALUES = 1024

/**
 * Every key in one request, in random order, dealt out to the connections: each connection asks its own share over and
 * over. The requests are built before the load begins; building costs no time while it is measured.
 */
export function dealRequests({ method, kind, keys, connections, api = 'kv' }) {
  const values = method === 'PUT' ? Array.from({ length: VALUES }, () => randomBytes(VALUE_BYTES)) : []
  const requests = Array.from({ length: keys }, (_, i) => APIS[api](method, KEY_KINDS[kind](i), values[i % VALUES]))
  shuffle(requests)
  return Array.from({ length: connections }, (_, n) => requests.filter((_, i) => i % connections === n))
}

/** One request in the words of whoever is asked: `kv` is `/v1/kv`, `etcd` is the JSON gateway of etcd 3.4. */
const APIS = {
  kv: (method, key, value) => {
    const path = `/v1/kv/${key}`
    return method === 'PUT' ? { method, path, body: value } : { method, path }
  },
  etcd: (method, key, value) => {
    const base64 = Buffer.from(key).toString('base64')
    const body = method === 'PUT' ? { key: base64, value: value.toString('base64') } : { key: base64 }
    return { method: 'POST', path: `/v3/kv/${method === 'PUT' ? 'put' : 'range'}`, body: JSON.stringify(body) }
  },
}

function shuffle(items) {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1))
    const item = items[i]
    items[i] = items[j]
    items[j] = item
  }
}
