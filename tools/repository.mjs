import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * The repository as the checks see it: every workspace package with its manifests and source texts, read once.
 *
 * It reads `package.json`, `tsconfig.json` and `src`; build output and `node_modules` are never looked at.
 */
export function readRepository(root) {
  const packagesDir = join(root, 'packages')
  const directories = readdirSync(packagesDir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort()
  return {
    root,
    manifest: readJson(join(root, 'package.json')),
    tsconfig: readJson(join(root, 'tsconfig.json')),
    readmes: ['', 'packages/', 'test/', 'bench/'].flatMap((path) => readReadme(root, `${path}README.md`)),
    packages: directories.map((directory) => readPackage(packagesDir, directory)),
    /** Files outside of the packages whose names and texts are checked too. */
    otherFiles: ['tools', 'bench', 'test'].flatMap((name) => readSources(join(root, name), name)),
  }
}

function readPackage(packagesDir, directory) {
  const path = join(packagesDir, directory)
  return {
    directory,
    manifest: readJson(join(path, 'package.json')),
    tsconfig: readJson(join(path, 'tsconfig.json')),
    hasReadme: existsSync(join(path, 'README.md')),
    files: readSources(join(path, 'src'), 'src'),
  }
}

/** Source files below `dir`, with `/`-separated paths that begin with `label`. */
function readSources(dir, label) {
  if (!existsSync(dir)) return []
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|tsx|mjs|js)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((full) => ({ path: `${label}${full.slice(dir.length).replaceAll('\\', '/')}`, full }))
    .filter(({ path }) => !/\/(?:node_modules|dist|\.data)\//.test(path))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map(({ path, full }) => ({ path, text: readFileSync(full, 'utf8'), isTest: isTest(path) }))
}

/** Tests, benches and what exists for them alone: they do not ship. */
function isTest(path) {
  return /\.(?:test|bench)\.(?:ts|tsx|mjs)$/.test(path) || path.includes('/testing/') || path.startsWith('test/')
}

function readJson(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined
}

/** Its text, and the relative links in it with whether they lead somewhere. */
function readReadme(root, path) {
  const full = join(root, path)
  if (!existsSync(full)) return []
  const text = readFileSync(full, 'utf8')
  const targets = [...text.matchAll(/\]\(([^)#:\s]+)\)/g)].map(([, target]) => target)
  return [{ path, links: targets.map((target) => ({ target, leads: existsSync(join(dirname(full), target)) })) }]
}
