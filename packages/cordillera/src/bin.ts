#!/usr/bin/env node
import { runProgram } from './program.js'

/** The command `cordillera`. */
process.exitCode = await runProgram(process.argv.slice(2), {
  environment: process.env,
  stdin: process.stdin,
  isTerminal: process.stdin.isTTY === true,
  out: (content) => void process.stdout.write(content),
  err: (text) => void process.stderr.write(text),
})
