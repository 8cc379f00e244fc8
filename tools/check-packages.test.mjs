import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkRepository } from './package-checks.mjs'
import { readRepository } from './repository.mjs'

/**
 * The check finds what it is for: a small repository that keeps every rule, and one planted violation a test. What is
 * planted is put together from parts, so that this file does not trip the check itself.
 */
let root

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'cordillera-check-'))
  await write('package.json', { version: '1.0.0', engines: { node: '>=20' }, devDependencies: { vitest: '4' } })
  await write('tsconfig.json', { references: [{ path: 'packages/base' }, { path: 'packages/wire' }] })
  await write('packages/README.md', '[base](base/README.md) [wire](wire/README.md)')
  await addPackage('base', { 'src/index.ts': 'export const one = 1\n' })
  await addPackage(
    'wire',
    {
      'src/index.ts':
        "import { one } from '@cordillera/base'\nimport { pack } from 'msgpackr'\nexport * from './two.js'\n",
      'src/two.ts': "// Math.random would be wrong here\nexport const two = 'Math.random() in words'\n",
      'src/two.test.ts': "import { test } from 'vitest'\nimport { two } from './two.js'\n",
    },
    { '@cordillera/base': '1.0.0', msgpackr: '^2' },
  )
})

afterEach(() => rmSync(root, { recursive: true, force: true }))

test('a repository that keeps the rules has no problems', () => {
  expect(problems()).toEqual([])
})

describe('imports', () => {
  const planted = [
    ['import-table', 'packages/base/src/index.ts', "import { a } from '@cordillera/wire'"],
    ['import-table', 'packages/base/src/index.ts', "export { a } from '@cordillera/wire'"],
    ['import-table', 'packages/base/src/index.ts', "import type { A } from '@cordillera/wire'"],
    ['import-table', 'packages/base/src/index.ts', "import {\n  a,\n  type B,\n} from '@cordillera/wire'"],
    ['import-table', 'packages/base/src/index.ts', "const wire = await import('@cordillera/wire')"],
    ['import-table', 'packages/base/src/index.ts', "import '@cordillera/wire'"],
    ['import-table', 'packages/base/src/one.test.ts', "import { a } from '@cordillera/wire'"],
    ['import-table', 'packages/wire/src/index.ts', "import { a } from '@cordillera/wire'"],
    ['import-table', 'packages/wire/src/index.ts', "import { open } from 'cordillera'"],
    ['import-deep', 'packages/wire/src/index.ts', "import { a } from '@cordillera/base/dist/bytes.js'"],
    ['import-path', 'packages/wire/src/index.ts', "import { a } from '../../base/src/index.js'"],
    ['import-path', 'packages/wire/src/index.ts', "import { a } from './two'"],
    ['import-path', 'packages/wire/src/index.ts', "import { a } from '/work/two.js'"],
    ['import-test', 'packages/wire/src/index.ts', "import { a } from './testing/fake.js'"],
    ['dependency-undeclared', 'packages/wire/src/index.ts', "import { a } from 'left-pad/deep'"],
    ['dependency-undeclared', 'packages/wire/src/index.ts', "import { test } from 'vitest'"],
  ]
  test.each(planted)('%s in %s: %s', async (rule, path, text) => {
    await append(path, `${text}\n`)
    expect(rules()).toContain(rule)
  })

  test('an import inside of a comment does not count', async () => {
    await append('packages/base/src/index.ts', "/*\nimport { a } from '@cordillera/wire'\n*/\n")
    expect(problems()).toEqual([])
  })
})

describe('manifests', () => {
  test('a dependency that nothing imports', async () => {
    await addPackage('base', { 'src/index.ts': 'export {}\n' }, { ws: '^8' })
    expect(rules()).toContain('dependency-unused')
  })

  test('a dependency that only a test imports', async () => {
    const files = { 'src/index.ts': 'export {}\n', 'src/a.test.ts': "import { WebSocket } from 'ws'\n" }
    await addPackage('base', files, { ws: '^8' })
    expect(rules()).toContain('dependency-unused')
  })

  test('exports beside "."', async () => {
    await change('packages/base/package.json', { exports: { '.': './dist/index.js', './deep': './dist/deep.js' } })
    expect(rules()).toEqual(['exports'])
  })

  test('no exports', async () => {
    await change('packages/base/package.json', { exports: undefined })
    expect(rules()).toEqual(['exports'])
  })

  test('another version than the repository, and than what depends on it', async () => {
    await change('packages/base/package.json', { version: '1.0.1' })
    expect(rules()).toContain('version')
  })

  test('two version ranges of one external package', async () => {
    await addPackage('base', { 'src/index.ts': "import { pack } from 'msgpackr'\n" }, { msgpackr: '^1' })
    expect(rules()).toEqual(['version'])
  })

  test('a reference too few and one too many', async () => {
    await change('packages/wire/tsconfig.json', { references: [{ path: '../ranges' }] })
    expect(rules()).toEqual(['references', 'references'])
  })

  test('a package that is in no table, not built, not on the map and without a README', async () => {
    await write('packages/extra/package.json', manifest('extra'))
    expect(rules()).toEqual(['unknown-package', 'readme', 'references', 'readme'])
  })
})

test('a link that leads nowhere', async () => {
  await write('test/README.md', '[here](../packages/base/README.md) [web](https://example.org/a) [gone](gone.test.ts)')
  expect(problems()).toEqual([expect.objectContaining({ rule: 'link', at: 'test/README.md' })])
})

describe('sources', () => {
  const random = ['Math', 'random()'].join('.')
  const planted = [
    ['impure', 'packages/wire/src/two.ts', `const a = ${random}`],
    ['impure', 'packages/wire/src/two.ts', `const a = \`a\${${random}}\``],
    ['impure', 'packages/wire/src/two.ts', `const a = ${['AbortSignal', 'timeout(5)'].join('.')}`],
    ['switched-off', 'packages/wire/src/two.test.ts', `${['test', 'only'].join('.')}('a', () => {})`],
    ['switched-off', 'packages/wire/src/two.test.ts', `${['describe', 'skip'].join('.')}('a', () => {})`],
    ['switched-off', 'test/one.test.ts', `${['it', 'todo'].join('.')}('a')`],
    ['switched-off', 'packages/wire/src/two.ts', `// ${'@ts'}-ignore`],
    ['switched-off', 'packages/wire/src/two.ts', `// ${'biome'}-ignore lint/style/noRestrictedGlobals: because`],
    ['name', 'packages/wire/src/string-utils.ts', ''],
    ['name', 'packages/wire/src/common/text.ts', ''],
    ['name', 'tools/helpers.mjs', ''],
    ['name', 'packages/wire/src/two.ts', `export class ${'Frame'}Manager {}`],
  ]
  test.each(planted)('%s in %s: %s', async (rule, path, text) => {
    await append(path, `${text}\n`)
    expect(rules()).toEqual([rule])
  })

  test('a test may use what the sources may not', async () => {
    await append('packages/wire/src/two.test.ts', `const a = ${random}\n`)
    expect(problems()).toEqual([])
  })
})

const problems = () => [...checkRepository(readRepository(root))]
const rules = () => problems().map(({ rule }) => rule)

const manifest = (directory, dependencies = {}) => ({
  name: `@cordillera/${directory}`,
  version: '1.0.0',
  engines: { node: '>=20' },
  exports: { '.': './dist/index.js' },
  dependencies,
})

async function addPackage(directory, files, dependencies = {}) {
  const references = Object.keys(dependencies)
    .filter((name) => name.startsWith('@cordillera/'))
    .map((name) => ({ path: `../${name.slice('@cordillera/'.length)}` }))
  await write(`packages/${directory}/package.json`, manifest(directory, dependencies))
  await write(`packages/${directory}/tsconfig.json`, { references })
  await write(`packages/${directory}/README.md`, `# ${directory}\n`)
  for (const [path, text] of Object.entries(files)) await write(`packages/${directory}/${path}`, text)
}

async function write(path, content, flag = 'w') {
  const full = join(root, path)
  await mkdir(dirname(full), { recursive: true })
  await writeFile(full, typeof content === 'string' ? content : JSON.stringify(content), { flag })
}

const append = (path, text) => write(path, text, 'a')

async function change(path, changes) {
  const { default: known } = await import(join(root, path), { with: { type: 'json' } })
  await write(path, { ...known, ...changes })
}
