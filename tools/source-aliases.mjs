import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** For vitest: every workspace package by its name, resolved to its sources. */
export function sourceAliases() {
  const packagesDir = fileURLToPath(new URL('../packages/', import.meta.url))
  return readdirSync(packagesDir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({
      find: name === 'cordillera' ? /^cordillera$/ : new RegExp(`^@cordillera/${name}$`),
      replacement: `${packagesDir}${name}/src/index.ts`,
    }))
}
