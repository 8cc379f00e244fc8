/** `host:port`; an IPv6 host stands in brackets. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** Undefined unless it is a host and a port from 0 to 65535. */
export function tryParseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  return match === null || port > 65_535 ? undefined : { host: (match[1] ?? match[2])!, port }
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Whether only this machine can reach it. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}
