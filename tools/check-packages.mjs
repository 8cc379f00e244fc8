import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkRepository } from './package-checks.mjs'
import { readRepository } from './repository.mjs'

/**
 * `node tools/check-packages.mjs [ROOT]`: prints every violation of the rules in `package-checks.mjs`, one a line, and
 * exits with 1 when there is one.
 */
const here = dirname(fileURLToPath(import.meta.url))
const repository = readRepository(resolve(process.argv[2] ?? `${here}/..`))
const problems = [...checkRepository(repository)]
for (const { rule, at, detail } of problems) console.log(`${at}  ${rule}: ${detail}`)
console.log(
  `Checked ${repository.packages.length} packages: ${problems.length} problem${problems.length === 1 ? '' : 's'}.`,
)
process.exitCode = problems.length === 0 ? 0 : 1
