// npm's install step. In a checkout: the incremental compile, so that a pull never leaves an old binary behind.
// In an installed package: nothing where the prebuilt binary loads, else a compile.
'use strict'
const { spawnSync } = require('node:child_process')
const { existsSync } = require('node:fs')
const path = require('node:path')

const root = path.join(__dirname, '..')
const checkout = existsSync(path.join(root, 'test')) || existsSync(path.join(root, '.git'))
const forced = process.env.npm_config_build_from_source === 'true' || process.env.HRM_BUILD_FROM_SOURCE === '1'

function prebuiltLoads() {
  try {
    require('node-gyp-build')(root)
    return true
  } catch (error) {
    console.error(`hrm-native: no prebuilt binary fits (${String(error.message).split('\n')[0]}); compiling one`)
    return false
  }
}

function compile() {
  let manifest
  try {
    manifest = require.resolve('cmake-js/package.json')
  } catch {
    console.error('hrm-native: cannot compile, cmake-js is not installed; do: npm install cmake-js node-addon-api')
    return 1
  }
  const script = path.join(path.dirname(manifest), require(manifest).bin['cmake-js'])
  const { status } = spawnSync(process.execPath, [script, 'compile'], { cwd: root, stdio: 'inherit' })
  if (status !== 0) console.error('hrm-native: compiling needs cmake >= 3.25 and a C++20 compiler (g++ >= 12)')
  return status ?? 1
}

process.exitCode = !checkout && !forced && prebuiltLoads() ? 0 : compile()
