import { readFile } from 'node:fs/promises'
import { CordilleraError } from '@cordillera/base'

/**
 * The secret that the nodes of a cluster share, from a file, so that no list of processes and no environment shows it.
 * White space around it does not count. Throws CONFIG_INVALID, without the secret in it.
 */
export async function readClusterSecret(path: string): Promise<string> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new CordilleraError('CONFIG_INVALID', { detail: `the cluster secret cannot be read: ${why}`, cause })
  }
  const secret = text.trim()
  if (secret.length >= SECRET_CHARS_MIN) return secret
  throw new CordilleraError('CONFIG_INVALID', {
    detail: `the cluster secret in ${path} has fewer than ${SECRET_CHARS_MIN} characters; "openssl rand -hex 32" makes one`,
  })
}

const SECRET_CHARS_MIN = 16
