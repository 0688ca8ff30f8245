#!/bin/sh
# The main job on the sample documents, killed midway and resumed. Usage: demo.sh STATE_DIR
set -eu
state=$1
rm -rf "$state"

say() { printf '\n== %s\n' "$*"; }

say "lesson15 run data/sample_docs, in the background"
lesson15 run data/sample_docs --batch-id demo --state-dir "$state" --checkpoint-interval 5 &
pid=$!

# Wait until some documents are committed, then kill without mercy.
tries=0
while [ "$(lesson15 status demo --state-dir "$state" --json 2>/dev/null |
    sed -n 's/.*"processed_docs": \([0-9]*\).*/\1/p')" -lt 10 ] 2>/dev/null ||
    [ ! -f "$state/demo/checkpoint.json" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "the batch makes no progress" >&2; exit 1; }
    sleep 0.1
done
say "kill -9 $pid"
kill -9 "$pid"
wait "$pid" || true
lesson15 status demo --state-dir "$state"

say "lesson15 resume demo"
code=0
lesson15 resume demo --state-dir "$state" || code=$?
# Exit 1: finished, with the documents in bad/ in the dead-letter list, as they should be.
[ "$code" -eq 1 ] || { echo "resume ended with $code, not 1" >&2; exit 1; }

say "lesson15 verify demo"
lesson15 verify demo --state-dir "$state"

say 'lesson15 search "how do I recover a database after a crash?"'
lesson15 search "how do I recover a database after a crash?" -k 3 --batch-id demo --state-dir "$state"
