#!/usr/bin/env bash
# The whole chain on one machine with a software TPM. Exit code 0 only if every step happened as told;
# nothing is left running (except with --keep).
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${BL_PROGRAMS:-build/release/bin}
dir=${BL_DEMO_DIR:-demo}
keep=no
[[ ${1:-} == --keep ]] && keep=yes
server_pid=

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
note() { printf '    %s\n' "$*"; }
fail() {
    printf '\nThe demo failed: %s\n' "$*" >&2
    [[ -f $dir/server.log ]] && printf 'Last lines of %s/server.log:\n' "$dir" >&2 && tail -n 8 "$dir/server.log" >&2
    exit 1
}
indent() { sed 's/^/    /'; }

stop_server() {
    [[ -n $server_pid ]] || return 0
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null
}
stop_tpm() {
    [[ ! -d $dir/tpm ]] || tests/software_tpm.sh stop "$dir/tpm" >/dev/null 2>&1 || true
}
clean_up() {
    local code=$?
    if [[ $keep == no || $code != 0 ]]; then
        stop_server || true
        stop_tpm
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# A demo that was kept, or killed, gives way to this one.
if [[ -d $dir ]]; then
    [[ -f $dir/server.pid ]] && pkill -TERM -F "$dir/server.pid" blindllama 2>/dev/null && sleep 2
    stop_tpm
    rm -rf "$dir"
fi
mkdir -p "$dir"

step "1. A TPM with an endorsement certificate (swtpm: software, so a test root)"
tcti=$(tests/software_tpm.sh start "$dir/tpm") || fail "the software TPM did not start"
note "TCTI $tcti"

step "2. An activator, who will vouch that the signing key lives in that TPM, and a policy"
activator=$("$bin/blindllama" key "$dir/activator.key" --name demo-activator)
note "activator $activator"
server=("$bin/blindllama-server" --model models/demo --state "$dir/state" --tcti "$tcti"
    --origin blindllama.demo/log --quote-interval 2 --activator "$activator"
    --ek-chain "$dir/tpm/ek-chain-0.pem" --ek-chain "$dir/tpm/ek-chain-1.pem")
"${server[@]}" --print-policy test >"$dir/policy" 2>"$dir/server.log" || fail "no policy"
grep -E '^(log|model|code|test-tpm-root)' "$dir/policy" | cut -c1-100 | indent
note "(here the server drafts it; a real client takes it from a release that was rebuilt)"

step "3. The server starts: reads and measures the model and itself, then listens"
"${server[@]}" --listen 127.0.0.1:0 >"$dir/server.out" 2>"$dir/server.log" &
server_pid=$!
echo "$server_pid" >"$dir/server.pid"
for _ in $(seq 300); do
    grep -q '^listening on ' "$dir/server.out" && break
    kill -0 "$server_pid" 2>/dev/null || fail "the server ended while starting"
    sleep 0.1
done
url=$(sed -n 's/^listening on //p' "$dir/server.out")
[[ -n $url ]] || fail "the server did not listen within 30 seconds"
indent <"$dir/server.log"
note "listening on $url"

step "4. The activator challenges the TPM and signs what it saw; the host logs it"
"$bin/blindllama" activate "$url" --policy "$dir/policy" --key "$dir/activator.key" | indent ||
    fail "no activation"

step "5. A client verifies before it asks:  blindllama verify $url --policy $dir/policy"
"$bin/blindllama" verify "$url" --policy "$dir/policy" >"$dir/verify.txt" || {
    cat "$dir/verify.txt"
    fail "the host could not be verified"
}
indent <"$dir/verify.txt"

step "6. The same check, then a question over the same connection, answered as it is made"
question="What is BlindLlama?"
note "> $question"
printf '    '
"$bin/blindllama" chat "$url" --policy "$dir/policy" --temperature 0 "$question" 2>"$dir/chat.err" |
    tee "$dir/answer.txt" || {
    cat "$dir/chat.err" >&2
    fail "no answer"
}
indent <"$dir/chat.err"
[[ $(wc -w <"$dir/answer.txt") -ge 5 ]] || fail "the answer is no sentence"

step "7. Three quotes more go into the log (one every 2 seconds)"
checkpoint_size() {
    "$bin/blindllama" checkpoint "$url" --policy "$dir/policy" | sed -n 's/^size //p'
}
first=$(checkpoint_size)
for _ in $(seq 60); do
    size=$(checkpoint_size)
    ((size >= first + 3)) && break
    sleep 0.5
done
((size >= first + 3)) || fail "the log did not grow by three entries in 30 seconds"
note "from $first to $size entries; the log's key signed each head"

step "8. The server stops, and says so in the log"
stop_server || fail "the server did not stop cleanly"
server_pid=
rm -f "$dir/server.pid"
tail -n 1 "$dir/server.log" | indent

step "9. The auditor replays the log, offline:  blindllama-audit replay $dir/state/log.db --policy $dir/policy"
"$bin/blindllama-audit" replay "$dir/state/log.db" --policy "$dir/policy" >"$dir/audit.txt" || {
    cat "$dir/audit.txt"
    fail "the audit of a good log is not true"
}
indent <"$dir/audit.txt"

step "10. One byte of one entry is flipped in a copy; the auditor must find it"
cp "$dir/state/log.db" "$dir/forged.db"
offset=$(grep -abo 'kind periodic' "$dir/forged.db" | sed -n '2s/:.*//p')
[[ -n $offset ]] || fail "no quote was found in the log to forge"
printf 'q' | dd of="$dir/forged.db" bs=1 seek="$offset" conv=notrunc status=none
code=0
"$bin/blindllama-audit" replay "$dir/forged.db" --policy "$dir/policy" >"$dir/forged.txt" || code=$?
tail -n 4 "$dir/forged.txt" | indent
[[ $code == 1 ]] || fail "the forged log was not called false (exit code $code)"
grep -q 'checkpoint [0-9]*: the entries' "$dir/forged.txt" || fail "the audit did not say from which checkpoint on"

step "11. A client whose policy wants another model sends nothing"
sed -E 's/^(model [^ ]+ )[0-9a-f]{8}/\100000000/' "$dir/policy" >"$dir/other-model.policy"
cmp -s "$dir/policy" "$dir/other-model.policy" && fail "the policy for another model is the same policy"
: >"$dir/server.out" # the address of before would be taken for the new one
"${server[@]}" --listen 127.0.0.1:0 >"$dir/server.out" 2>>"$dir/server.log" &
server_pid=$!
echo "$server_pid" >"$dir/server.pid"
for _ in $(seq 300); do
    grep -q '^listening on ' "$dir/server.out" && break
    kill -0 "$server_pid" 2>/dev/null || fail "the server ended while starting again"
    sleep 0.1
done
url=$(sed -n 's/^listening on //p' "$dir/server.out")
code=0
"$bin/blindllama" chat "$url" --policy "$dir/other-model.policy" "My secret" >"$dir/refused.txt" 2>&1 || code=$?
indent <"$dir/refused.txt"
[[ $code == 1 ]] || fail "a host with another model was not refused (exit code $code)"
! grep -q 'POST /v1/chat' <(tail -n 5 "$dir/server.log") || fail "the server saw a chat request"

if [[ $keep == yes ]]; then
    step "The server stays up (stop it with: kill $server_pid; tests/software_tpm.sh stop $dir/tpm)"
    cat <<TEXT | indent
With curl, which does not verify:
  curl -sk $url/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model":"demo","messages":[{"role":"user","content":"What is a TPM?"}]}'
With Python (pip install openai), which does not verify either:
  import openai
  client = openai.OpenAI(base_url="$url/v1", api_key="none", http_client=openai.DefaultHttpxClient(verify=False))
  print(client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "What is a TPM?"}]).choices[0].message.content)
Verified:
  $bin/blindllama chat $url --policy $dir/policy "What is a TPM?"
TEXT
    disown "$server_pid"
else
    stop_server || fail "the server did not stop cleanly the second time"
    server_pid=
    rm -f "$dir/server.pid"
fi

step "All of it happened."
note "log     $dir/state/log.db"
note "policy  $dir/policy"
note "next    $bin/blindllama-audit replay $dir/state/log.db --policy $dir/policy --json"
[[ $keep == yes ]] || note "        ./dev demo --keep   leaves the server up for you to ask"
