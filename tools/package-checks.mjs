import { posix } from 'node:path'
import { bannedNames, COMPOSITION_ROOT, mayImport, packageName, tryPackageDirectory } from './package-table.mjs'
import { codeOnly, importsOf, linesWith, packageOf } from './source-text.mjs'

/**
 * The rules that neither the compiler nor the linter enforces. Every check takes the repository (`repository.mjs`) and
 * yields problems: `{ rule, at, detail }`, where `at` is a path with an optional line. No check reads the disk.
 */
export function* checkRepository(repository) {
  for (const one of repository.packages) {
    yield* checkManifest(one, repository)
    yield* checkReferences(one)
    yield* checkImports(one)
    yield* checkDependencies(one, repository)
    for (const file of one.files) yield* checkText(file, `packages/${one.directory}/${file.path}`, one.directory)
  }
  for (const file of repository.otherFiles) yield* checkText(file, file.path, undefined)
  yield* checkTopLevel(repository)
}

function* checkManifest({ directory, manifest, hasReadme }, repository) {
  const at = `packages/${directory}/package.json`
  if (!(directory in mayImport)) yield { rule: 'unknown-package', at, detail: 'it is not in the import table' }
  if (!hasReadme) yield { rule: 'readme', at: `packages/${directory}`, detail: 'a package has a README.md' }
  if (manifest === undefined) {
    yield { rule: 'manifest', at, detail: 'missing' }
    return
  }
  const name = packageName(directory)
  if (manifest.name !== name) yield { rule: 'manifest', at, detail: `the name must be ${name}` }
  if (manifest.version !== repository.manifest.version) {
    yield { rule: 'version', at, detail: `${manifest.version} is not the repository's ${repository.manifest.version}` }
  }
  if (manifest.engines?.node !== repository.manifest.engines?.node) {
    yield { rule: 'version', at, detail: 'engines.node differs from the top-level package.json' }
  }
  const exported = Object.keys(manifest.exports ?? {})
  if (exported.join() !== '.') {
    yield { rule: 'exports', at, detail: `exports must expose "." alone, not ${exported.join(' ') || 'nothing'}` }
  }
  for (const [dependency, version] of Object.entries(manifest.dependencies ?? {})) {
    if (tryPackageDirectory(dependency) !== undefined && version !== manifest.version) {
      yield { rule: 'version', at, detail: `${dependency} must be "${manifest.version}", it is "${version}"` }
    }
  }
}

function* checkReferences({ directory, manifest, tsconfig }) {
  const at = `packages/${directory}/tsconfig.json`
  const referenced = (tsconfig?.references ?? []).map(({ path }) => posix.basename(path))
  const depended = Object.keys(manifest?.dependencies ?? {}).flatMap((name) => tryPackageDirectory(name) ?? [])
  for (const name of depended.filter((one) => !referenced.includes(one))) {
    yield { rule: 'references', at, detail: `${name} is a dependency but not referenced` }
  }
  for (const name of referenced.filter((one) => !depended.includes(one))) {
    yield { rule: 'references', at, detail: `${name} is referenced but not a dependency` }
  }
}

function* checkImports({ directory, files }) {
  const allowed = mayImport[directory] ?? []
  for (const file of files) {
    for (const { specifier, line } of importsOf(file.text)) {
      const at = `packages/${directory}/${file.path}:${line}`
      if (specifier.startsWith('.')) yield* checkRelativeImport(file, specifier, at)
      else if (specifier.startsWith('/'))
        yield { rule: 'import-path', at, detail: `${specifier} is a path of a machine` }
      else yield* checkPackageImport(directory, allowed, specifier, at)
    }
  }
}

function* checkRelativeImport(file, specifier, at) {
  const target = posix.normalize(posix.join(posix.dirname(file.path), specifier))
  if (!target.startsWith('src/')) {
    yield { rule: 'import-path', at, detail: `${specifier} leaves the package's src` }
  }
  if (!/\.(?:js|json)$/.test(specifier)) {
    yield { rule: 'import-path', at, detail: `${specifier} must end in .js` }
  }
  if (!file.isTest && /(?:\/testing\/|\.test\.js$|\.bench\.js$)/.test(target)) {
    yield { rule: 'import-test', at, detail: `${specifier} is for tests and does not ship` }
  }
}

function* checkPackageImport(directory, allowed, specifier, at) {
  const target = tryPackageDirectory(packageOf(specifier))
  if (target === undefined) return
  if (specifier !== packageName(target)) {
    yield { rule: 'import-deep', at, detail: `${specifier} reaches past the exports of ${packageName(target)}` }
  }
  if (target === directory) {
    yield { rule: 'import-table', at, detail: 'a package imports its own files by relative paths' }
  } else if (!allowed.includes(target)) {
    yield { rule: 'import-table', at, detail: `${directory} may not import ${target}` }
  }
}

function* checkDependencies({ directory, manifest, files }, repository) {
  const at = `packages/${directory}/package.json`
  const declared = Object.keys(manifest?.dependencies ?? {})
  const forTests = [
    ...declared,
    ...Object.keys(manifest?.devDependencies ?? {}),
    ...Object.keys(repository.manifest.devDependencies ?? {}),
  ]
  const shipped = new Set()
  for (const file of files) {
    for (const { specifier, line } of importsOf(file.text)) {
      if (/^[./]/.test(specifier) || specifier.startsWith('node:')) continue
      const name = packageOf(specifier)
      if (name === packageName(directory)) continue
      if (!file.isTest) shipped.add(name)
      const known = file.isTest ? forTests : declared
      if (known.includes(name)) continue
      const where = `packages/${directory}/${file.path}:${line}`
      yield {
        rule: 'dependency-undeclared',
        at: where,
        detail: `${name} is not a dependency of ${packageName(directory)}`,
      }
    }
  }
  for (const name of declared.filter((one) => !shipped.has(one))) {
    yield { rule: 'dependency-unused', at, detail: `${name} is declared but not imported by what ships` }
  }
}

/** What the linter cannot see, because it knows names of globals but not their members, or because it can be told off. */
const FORBIDDEN = [
  { rule: 'impure', pattern: /\bMath\s*\.\s*random\b/, detail: 'Math.random: take Random from a port', impure: true },
  { rule: 'impure', pattern: /\bAbortSignal\s*\.\s*timeout\b/, detail: 'AbortSignal.timeout: use Clock', impure: true },
  { rule: 'impure', pattern: /\bAtomics\s*\.\s*wait/, detail: 'Atomics.wait blocks on real time', impure: true },
  {
    rule: 'switched-off',
    pattern: /\b(?:it|test|describe|suite|bench)\s*\.\s*(?:only|skip|todo|fails|skipIf)\b/,
    detail: 'a test is switched off or alone',
  },
]
const FORBIDDEN_COMMENTS = [
  { pattern: /\/[/*]+\s*@ts-(?:ignore|nocheck)\b/, detail: 'the compiler is told to look away' },
  {
    pattern: /\/[/*]+\s*biome-ignore(?:-all|-start)?\s+lint\/style\/noRestricted/,
    detail: 'the linter is told to look away',
  },
]
const VAGUE_TYPE = /\b(?:class|interface|type|enum)\s+\w*(?:Manager|Helper|Helpers|Util|Utils|Impl)\b/

function* checkText(file, path, directory) {
  for (const part of file.path.split(/[/.\-_]/).filter((word) => bannedNames.includes(word.toLowerCase()))) {
    yield { rule: 'name', at: path, detail: `"${part}" says nothing about what is inside` }
  }
  const code = codeOnly(file.text)
  const mustBePure = directory !== undefined && directory !== COMPOSITION_ROOT && !file.isTest
  for (const { rule, pattern, detail, impure } of FORBIDDEN) {
    if (impure && !mustBePure) continue
    for (const line of linesWith(code, pattern)) yield { rule, at: `${path}:${line}`, detail }
  }
  for (const line of linesWith(code, VAGUE_TYPE)) {
    yield { rule: 'name', at: `${path}:${line}`, detail: 'Manager, Helper, Util and Impl say nothing' }
  }
  for (const { pattern, detail } of FORBIDDEN_COMMENTS) {
    for (const line of linesWith(file.text, pattern)) yield { rule: 'switched-off', at: `${path}:${line}`, detail }
  }
}

function* checkTopLevel({ tsconfig, readmes, packages }) {
  const map = readmes.find(({ path }) => path === 'packages/README.md')?.links ?? []
  const referenced = (tsconfig?.references ?? []).map(({ path }) => posix.basename(path))
  for (const { directory } of packages) {
    if (!referenced.includes(directory)) {
      yield { rule: 'references', at: 'tsconfig.json', detail: `packages/${directory} is not referenced` }
    }
    if (!map.some(({ target }) => target === `${directory}/README.md`)) {
      yield { rule: 'readme', at: 'packages/README.md', detail: `the map does not link ${directory}/README.md` }
    }
  }
  for (const { path, links } of readmes) {
    for (const { target, leads } of links) {
      if (!leads) yield { rule: 'link', at: path, detail: `${target} does not exist` }
    }
  }
  yield* checkExternalVersions(packages)
}

/** One version range of an external package throughout, or two copies of it may be loaded. */
function* checkExternalVersions(packages) {
  const first = new Map()
  for (const { directory, manifest } of packages) {
    for (const [name, range] of Object.entries(manifest?.dependencies ?? {})) {
      const known = first.get(name)
      if (known === undefined) first.set(name, { directory, range })
      else if (known.range !== range) {
        const detail = `${name} is "${range}" here and "${known.range}" in ${known.directory}`
        yield { rule: 'version', at: `packages/${directory}/package.json`, detail }
      }
    }
  }
}
