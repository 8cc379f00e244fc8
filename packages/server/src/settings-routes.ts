import type { ApiRoute } from './api-route.js'
import type { Gate } from './gate.js'
import { ClusterSettingsSchema, type SettingsPatch, SettingsPatchSchema } from './settings-schema.js'

/** The cluster's settings, all at once. Their bounds and meanings are in the OpenAPI document. */
export function settingsRoutes(gate: Gate): ApiRoute[] {
  const answers = { 200: { description: 'All settings, as they are now.', schema: ClusterSettingsSchema } }
  const resource = { path: '/v1/admin/settings', tag: 'settings', answers } as const
  return [
    {
      ...resource,
      method: 'GET',
      operationId: 'getSettings',
      summary: 'The settings of the cluster',
      refusals: [],
      handle: () => gate.node().placement.settings(),
    },
    {
      ...resource,
      method: 'PUT',
      operationId: 'setSettings',
      summary: 'Changes some settings and keeps the others',
      refusals: ['OUTCOME_UNKNOWN'],
      body: { schema: SettingsPatchSchema, required: true, examples: { pause: { placementEnabled: false } } },
      handle: (request) => gate.node().placement.setSettings(request.body as SettingsPatch),
    },
  ]
}
