#!/usr/bin/env bash
# Everything that only a machine with a CUDA GPU shows, in 20 minutes at most:
#
#     benchmarks/gpu.sh [PART...]        the parts, in this order, by default all but the last
#
#     served        decode.py in the shape of Llama 3.2 1B on the Triton backend, greedily and not, without transformers
#     exposed       exposed.py in the shape of Llama 3.2 1B: how long the GPU waits between two steps of `decode`
#     steps         kernels.py: whole decode steps in the shapes of Llama 3.2 1B and 3B and 3.1 8B
#     captured      numerics.py: all that runs in CUDA graphs: the suite of trait decode, plans of steps, passes of tokens
#     numerics      numerics.py: the tests of the torch and Triton backends on the GPU, conformance among them
#     kernels       kernels.py: the Triton kernels one by one, errors and times
#     decode-1b     decode.py in the shape of Llama 3.2 1B, on the torch backend, against transformers' generate
#     policies      policies.py on the bundled model
#     decode-30m, decode-150m
#     continuous    decode.py as served, against transformers' continuous batching, which differs from version to version
#     policies-1b   policies.py in the shape of Llama 3.2 1B
#
# Each part is a process, and has a time limit of its own. It leaves PART.log, with its table, and its rows in gpu.jsonl,
# under $OUT, or beside the other results. One that fails does not stop the next; the exit code is the number of those
# that failed.
# Set PYTHON for another interpreter than .venv's, COMMIT where there is no git.
set -uo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-benchmarks/results}
ROWS=$OUT/gpu.jsonl
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$OUT"
failed=0

# run LIMIT_S PART COMMAND...: its rows go to $ROWS, all else to its log, whose table or end is shown
run() {
    local limit=$1 part=$2 started=$SECONDS code
    shift 2
    timeout --kill-after=10 "$limit" "$@" 2>"$OUT/$part.log" >"$OUT/$part.out"
    code=$?
    grep '^{' "$OUT/$part.out" >>"$ROWS"
    grep -v '^{' "$OUT/$part.out" >>"$OUT/$part.log"
    rm "$OUT/$part.out"
    echo "== $part: exit code $code after $((SECONDS - started)) s of at most $limit"
    [ "$code" -eq 0 ] || failed=$((failed + 1))
    { [ "$code" -eq 0 ] && grep '^|' "$OUT/$part.log"; } ||
        tail -n "$([ "$code" -eq 0 ] && echo 3 || echo 25)" "$OUT/$part.log" | cut -c-300
}

CAPTURED=(test_on_gpu.py test_ahead.py test_token_passes.py test_conformance.py)
OURS="own loop;steps alone;inferlets;inferlets, sample;inferlets, decode;inferlets, decode, temperature 0.8"
BESIDE="transformers;own loop;inferlets;inferlets, decode"
CONTINUOUS="own loop;inferlets, decode;transformers;transformers, continuous batching"

# decode PART LIMIT_S SHAPE SIDES OPTION...
decode() { run "$2" "$1" "$PYTHON" benchmarks/decode.py --device cuda --shape "$3" --only "$4" "${@:5}"; }

policies() { run "$2" "$1" "$PYTHON" benchmarks/policies.py --device cuda --rounds 2 --t-ms 2,5,10 "${@:3}"; }

parts=("$@")
[ $# -gt 0 ] || parts=(served exposed steps captured numerics kernels decode-1b policies decode-30m decode-150m continuous)
for part in "${parts[@]}"; do
    case $part in
        served) decode served 140 1b "$OURS" --backend triton --rounds 3 ;;
        steps) run 125 steps "$PYTHON" benchmarks/kernels.py --parts step --shapes 1b,8b,3b ;;
        exposed) run 100 exposed "$PYTHON" benchmarks/exposed.py --device cuda --shape 1b --rounds 5 ;;
        captured) run 75 captured "$PYTHON" benchmarks/numerics.py --device cuda "${CAPTURED[@]/#/--only=}" ;;
        numerics) run 150 numerics "$PYTHON" benchmarks/numerics.py --device cuda ;;
        kernels) run 130 kernels "$PYTHON" benchmarks/kernels.py --parts attention,prefix,rows ;;
        decode-1b) decode decode-1b 75 1b "$BESIDE" --rounds 2 --widths 1,32 ;;
        policies) policies policies 95 --inferlets 64 --k 16,32,64 ;;
        decode-30m) decode decode-30m 60 30m "$BESIDE" --rounds 2 --widths 1,32 ;;
        decode-150m) decode decode-150m 70 150m "$BESIDE" --rounds 2 --widths 1,32 ;;
        continuous) decode continuous 80 1b "$CONTINUOUS" --backend triton --rounds 3 ;;
        policies-1b) policies policies-1b 90 --model 1b --inferlets 32 --k 8,16,32 ;;
        *) echo "$0: no part $part" >&2; failed=$((failed + 1)) ;;
    esac
done
cut -c-400 "$ROWS" 2>/dev/null
exit "$failed"
