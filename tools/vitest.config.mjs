import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { sourceAliases } from './source-aliases.mjs'

/**
 * Unit tests run against the sources: every workspace package resolves to its `src/index.ts`, so that no build is
 * needed. What runs real processes lives in `test/` and uses the built packages.
 */
export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  resolve: { alias: sourceAliases() },
  test: { include: ['packages/*/src/**/*.test.ts', '{tools,bench}/**/*.test.mjs'], testTimeout: 30_000 },
})
