import type { IncomingHttpHeaders } from 'node:http'
import { CordilleraError } from '@cordillera/base'

/**
 * Keeps a page of another site, open in an operator's browser, from giving commands to a node that the browser can
 * reach: a POST without a body needs no preflight. Browsers say where a request comes from; other clients say nothing,
 * and are let through.
 */
export function refuseCrossSite({ 'sec-fetch-site': site, origin, host }: IncomingHttpHeaders): void {
  const isForeign = site === undefined ? origin !== undefined && hostOf(origin) !== host : site === 'cross-site'
  if (isForeign)
    throw new CordilleraError('BAD_REQUEST', { detail: 'commands are not taken from pages of other sites' })
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined
}
