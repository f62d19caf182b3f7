#!/usr/bin/env bash
# Everything that only a GPU can prove, in one command of less than ten minutes, without network or npm: builds, checks
# the kernels, the op table and the traces of the official code, runs the sanitizers, times. Prints a short table last.
#   bench/gpu-check.sh [FOLDER]    FOLDER receives gpu-check.log and gpu-check.json; default bench/results
# Needed: nvcc >= 12.4, cmake >= 3.25, a checkout with node_modules/{node-api-headers,node-addon-api,node-gyp-build,...}
# and dist/ (npm ci made them), Node 20.19 or newer ($NODE, else node). HRM_GOLDEN: folder of further traces.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-bench/results}
mkdir -p "$out"
log=$out/gpu-check.log
json=$out/gpu-check.json
node=${NODE:-node}
build=build-gpu/build
failed=0
table=()
: >"$log"
: >"$json"

# step NAME SECONDS COMMAND...: the command's lines that are JSON go to gpu-check.json too
step() {
  local name=$1 limit=$2 start=$SECONDS status took verdict
  shift 2
  echo "== $name: $*" >>"$log"
  timeout -k 5 "$limit" "$@" >"$out/step.txt" 2>&1
  status=$?
  took=$((SECONDS - start))
  cat "$out/step.txt" >>"$log"
  grep -a '^{' "$out/step.txt" >>"$json"
  case $status in
    0) verdict=ok ;;
    124 | 137) verdict="TIMEOUT after $limit s" ;;
    *) verdict="FAILED ($status)" ;;
  esac
  [ $status -eq 0 ] || failed=$((failed + 1))
  printf '{"type":"step","name":"%s","status":%d,"seconds":%d}\n' "$name" "$status" "$took" >>"$json"
  table+=("$(printf '%-34s %4d s  %s' "$name" "$took" "$verdict")")
  echo "${table[-1]}"
}

if ! command -v nvcc >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "gpu-check: expected nvcc and a GPU that nvidia-smi lists, got none; run it on a machine with both" >&2
  exit 1
fi
nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader | tee -a "$log"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
[ "$capability" = 90 ] && capability=90a

configure() {
  cmake -S . -B "$build" -DHRM_CUDA=ON -DHRM_CUDA_ARCHS="$capability-real" -DHRM_CUDA_HOST=OFF -DHRM_FAULTS=OFF \
    "-DCMAKE_JS_INC=$PWD/node_modules/node-api-headers/include;$PWD/node_modules/node-addon-api" -DCMAKE_JS_SRC= -DCMAKE_JS_LIB= &&
    cmake --build "$build" -j "$(nproc)" --target hrm hrm_cuda_kernels_gpu hrm_optable_gpu &&
    nvcc -O3 -std=c++20 "-arch=sm_$capability" bench/gpu/ceilings.cu -o "$build/Release/ceilings"
}
export -f configure
export build capability
export HRM_NATIVE_PREBUILD=$PWD/build-gpu
bin=$build/Release
hrm=("$node" dist/cli/main.js)
traces=(test/golden/iii_odd)
for folder in "${HRM_GOLDEN:-../shared/golden}"/{i_sudoku_rope,ii_learned}; do
  [ -d "$folder" ] && traces+=("$folder")
done

step build 240 bash -c configure
step ceilings 30 "$bin/ceilings"
step 'kernels beside double' 60 "$bin/hrm_cuda_kernels_gpu"
step 'op table, fp32' 90 "$bin/hrm_optable_gpu" test --backend cuda:f32
step 'op table, bf16' 90 "$bin/hrm_optable_gpu" test --backend cuda:bf16
step 'traces of the official code' 60 "$node" scripts/parity.mjs --device cuda "${traces[@]}"
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    step "compute-sanitizer $tool" 40 compute-sanitizer --tool "$tool" --error-exitcode 9 --log-file "$out/$tool.txt" \
      "$bin/hrm_optable_gpu" test --backend cuda:bf16 --filter B3T5P0D32
  done
else
  table+=('compute-sanitizer                        skipped: not installed')
fi
step 'segments, bf16' 60 "${hrm[@]}" bench solve --device cuda --preset paper --batch 1,8,32,96,384 --seconds 2 --json
step 'training steps, bf16' 60 "${hrm[@]}" bench train --device cuda --preset paper --batch 8,32,96,384 --seconds 3 --json
step 'kernels, bf16' 60 "${hrm[@]}" bench kernels --device cuda --preset paper --batch 1,384 --seconds 0.5 --json
step 'mazes, bf16' 60 "${hrm[@]}" bench solve --device cuda --preset maze-hard --batch 1,32 --seconds 2 --json
rm -f "$out/step.txt"

echo
printf '%s\n' "${table[@]}"
"$node" - "$json" <<'JS'
const { readFileSync } = require('node:fs')
const rows = readFileSync(process.argv[2], 'utf8').trim().split('\n').map((line) => JSON.parse(line))
for (const { name, value, unit } of rows.filter(({ type }) => type === 'ceiling')) console.log(`${name}: ${value} ${unit}`)
for (const { name, batch, ms, spread, percentOfPeak } of rows.filter(({ type }) => type === 'case')) {
  const share = percentOfPeak === null ? '' : `, ${percentOfPeak.toFixed(1)} % of peak`
  console.log(`${name}, batch ${batch ?? '-'}: ${ms.toFixed(3)} ms (spread ${(100 * spread).toFixed(0)} %)${share}`)
}
JS
[ $failed -eq 0 ] && echo 'all checks passed' || echo "$failed checks failed"
exit $((failed > 0))
