import { type Static, Type } from 'typebox'

/**
 * The cluster's settings, each with its unit, bounds and meaning: what `PUT` checks, what the OpenAPI document says and
 * what `cordillera settings show` prints.
 *
 * Bounds here concern one setting alone. What two settings owe to one another (a merge must not call for the next split)
 * is checked where they are merged, by the node.
 */
const GIB = 2 ** 30
const WEEK_MS = 7 * 24 * 3_600_000

const settings = {
  placementEnabled: Type.Boolean({
    description: 'Whether ranges are split, merged and moved without being told to. Commands work either way.',
  }),
  replicas: Type.Integer({
    minimum: 1,
    maximum: 9,
    description: 'Replicas of each range. In effect: the largest odd number that neither this nor the nodes exceed.',
  }),
  rangeSplitBytes: Type.Integer({ minimum: 64 * 1024, maximum: 16 * GIB, description: 'A larger range is split.' }),
  rangeMergeBytes: Type.Integer({
    minimum: 0,
    maximum: 16 * GIB,
    description: 'A cold range that is smaller is merged with a neighbour; 0: none. At most half of rangeSplitBytes.',
  }),
  rangeMergeCooldownMs: Type.Integer({
    minimum: 0,
    maximum: WEEK_MS,
    description: 'How long a range is left alone after a split, and counts as warm after load.',
  }),
  rangeSplitLoadPerSec: Type.Integer({
    minimum: 0,
    maximum: 10_000_000,
    description: 'A range with more reads and writes a second is split; 0: none for its load.',
  }),
  deadNodeAfterMs: Type.Integer({
    minimum: 1_000,
    maximum: WEEK_MS,
    description: 'The replicas of a node that was not heard for so long are replaced.',
  }),
  movesPerNodeMax: Type.Integer({
    minimum: 1,
    maximum: 64,
    description: 'Replicas on the way to or from one node at a time.',
  }),
  snapshotBytesPerSecMax: Type.Integer({
    minimum: 64 * 1024,
    maximum: 10 * GIB,
    description: 'What a node sends of snapshots, at most.',
  }),
  balanceTolerance: Type.Number({
    minimum: 0,
    maximum: 1,
    description: 'How far nodes may be from their mean before something is moved: 0.05 is 5 %.',
  }),
}

export const ClusterSettingsSchema = Type.Object(settings, { additionalProperties: false })
export type ClusterSettings = Readonly<Static<typeof ClusterSettingsSchema>>

/** Any of the settings. */
export const SettingsPatchSchema = Type.Partial(ClusterSettingsSchema, { additionalProperties: false })
export type SettingsPatch = Partial<ClusterSettings>
