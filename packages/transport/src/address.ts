import { CordilleraError } from '@cordillera/base'

export interface HostPort {
  readonly host: string
  readonly port: number
}

/**
 * `host:port`, the host of an IPv6 address in brackets. Throws `CONFIG_INVALID`, also for what only looks like an
 * address (`256.0.0.1:80`): dialling it would throw, on every node that was told of it.
 */
export function parseAddress(address: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/?#@\s]+)):(\d{1,5})$/.exec(address)
  const port = Number(match?.[3])
  if (match === null || port > 65_535 || !URL.canParse(`ws://${address}/`)) {
    throw new CordilleraError('CONFIG_INVALID', { detail: `"${address}" is not an address of the form host:port` })
  }
  return { host: match[1] ?? match[2]!, port }
}

export function formatAddress({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Whether only processes of the same machine can reach this host. Names other than `localhost` are not looked up. */
export function isLoopback(host: string): boolean {
  return /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host) || host === '::1' || host.toLowerCase() === 'localhost'
}
