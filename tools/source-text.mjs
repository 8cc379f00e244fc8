/**
 * Reads what the checks need out of TypeScript source text: its imports, and its code without comments.
 *
 * These are regular expressions over formatted sources, not a parser: the formatter puts every import statement at the
 * start of a line. An import that is written inside a string or a comment is not reported.
 */
const STATEMENT = /^[ \t]*(?:import|export)\s+(?:type\s+)?(?:[\w$*\s{},]+?\s+from\s*)?(['"])((?:(?!\1)[^\\\n])+)\1/gm
const CALL = /\b(?:import|require)\s*\(\s*(['"`])((?:(?!\1)[^\\\n])+)\1/g
const STRING_OR_COMMENT =
  /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`|\/\*[\s\S]*?\*\/|(?<!\\)\/\/[^\n]*/g

/** The text with comments blanked out; line numbers stay. Strings stay, so that the specifiers of imports are seen. */
export function withoutComments(text) {
  return text.replace(STRING_OR_COMMENT, (part) => (part.startsWith('/') ? part.replace(/[^\n]/g, ' ') : part))
}

/** The text with comments and the inside of plain strings blanked out; template strings may hold code and stay. */
export function codeOnly(text) {
  return text.replace(STRING_OR_COMMENT, (part) => (part.startsWith('`') ? part : part.replace(/[^\n'"]/g, ' ')))
}

/** Every module that the text imports, re-exports, `import()`s or `require()`s, with its line (from 1). */
export function importsOf(text) {
  const code = withoutComments(text)
  const found = []
  for (const pattern of [STATEMENT, CALL]) {
    for (const match of code.matchAll(pattern)) {
      found.push({ specifier: match[2], line: lineAt(code, match.index + match[0].length) })
    }
  }
  return found.sort((a, b) => a.line - b.line)
}

/** Lines (from 1) on which the pattern matches. */
export function linesWith(text, pattern) {
  return [...text.matchAll(new RegExp(pattern, 'g'))].map(({ index }) => lineAt(text, index))
}

function lineAt(text, index) {
  let line = 1
  for (let at = text.indexOf('\n'); at !== -1 && at < index; at = text.indexOf('\n', at + 1)) line++
  return line
}

/** `@scope/name/deep/file` is of `@scope/name`, `name/deep` of `name`. */
export function packageOf(specifier) {
  const parts = specifier.split('/')
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]
}
