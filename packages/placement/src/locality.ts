/**
 * Where a node stands, as failure domains, outermost first, and how far apart replicas are.
 *
 * Diversity compares outer tiers strictly before inner ones: one pair of replicas more in different regions outweighs
 * any number of pairs in different racks. Scores are exact integers and are compared without a tolerance. CockroachDB's
 * diversity score weighs the tiers evenly instead (decisions/0003).
 */
export interface Tier {
  readonly key: string
  readonly value: string
}

/** Tiers from the outermost to the innermost; empty when nothing is known. */
export type Locality = readonly Tier[]

export const LOCALITY_TIERS_MAX = 8

/** Above the number of pairs among a range's replicas, so that no sum of an inner tier carries over into an outer one. */
const PAIRS_BOUND = 64

/** By the first tier at which two nodes differ: they differ at that tier and at every one inside it. */
const SCORES = Array.from({ length: LOCALITY_TIERS_MAX }, (_, first) => {
  let score = 0
  for (let tier = first; tier < LOCALITY_TIERS_MAX; tier++) score += PAIRS_BOUND ** (LOCALITY_TIERS_MAX - 1 - tier)
  return score
})

/** Reads `region=a,zone=b`; an empty text is no tier at all. Undefined for anything else, and for too many tiers. */
export function parseLocality(text: string): Locality | undefined {
  if (text === '') return []
  const tiers: Tier[] = []
  for (const part of text.split(',')) {
    const [key, value, ...rest] = part.split('=')
    if (key === undefined || value === undefined || key === '' || value === '' || rest.length > 0) return undefined
    tiers.push({ key, value })
  }
  return tiers.length <= LOCALITY_TIERS_MAX ? tiers : undefined
}

/** How far apart two places are; 0 when no tier tells them apart. A tier that one of them lacks is a difference. */
export function pairDiversity(a: Locality, b: Locality): number {
  const tiers = Math.min(Math.max(a.length, b.length), LOCALITY_TIERS_MAX)
  for (let i = 0; i < tiers; i++) if (a[i]?.value !== b[i]?.value || a[i]?.key !== b[i]?.key) return SCORES[i]!
  return 0
}
