#!/usr/bin/env bash
# Polls one agent with curl: what a script, a cron job or any plain HTTP client does.
#
# Half-way through it has every token revoked at the server and goes on with the token it has.
#
# Environment: GATEWAY_HOST, GATEWAY_PORT, CLIENT_ID, CLIENT_SECRET; POLLS; AGENT; LAB_CONTROL (a
# lab's address; without it nothing is revoked).
set -euo pipefail

gateway="http://${GATEWAY_HOST:?}:${GATEWAY_PORT:?}"
polls_due=${POLLS:-24}
agent=${AGENT:-agent-1}
logins=0 polls=0 errors=0

# Secrets reach curl through its configuration on standard input: an argument is visible to every
# user of the machine.
log_in() {
    local answer
    answer=$(curl --silent --show-error --fail-with-body --max-time 20 --config - \
        --data grant_type=client_credentials "$gateway/oauth/token" \
        <<<"user = \"${CLIENT_ID:?}:${CLIENT_SECRET:?}\"")
    [[ $answer =~ \"access_token\"[[:space:]]*:[[:space:]]*\"([^\"]+)\" ]] || {
        echo "log in: no access_token in the answer" >&2
        exit 1
    }
    token=${BASH_REMATCH[1]}
    logins=$((logins + 1))
}

poll() {
    local status
    status=$(curl --silent --show-error --output /dev/null --write-out '%{http_code}' --max-time 20 \
        --config - "$gateway/api/v2/users/$agent/routingstatus" \
        <<<"header = \"Authorization: Bearer $token\"") || true
    if [[ $status == 200 ]]; then
        polls=$((polls + 1))
    else
        errors=$((errors + 1))
        echo "poll: status $status" >&2
    fi
}

log_in
for ((turn = 0; turn < polls_due; turn++)); do
    if [[ -n ${LAB_CONTROL:-} ]] && ((turn == polls_due / 2)); then
        curl --silent --show-error --fail --output /dev/null --max-time 10 \
            --header 'Content-Type: application/json' --data '{}' "$LAB_CONTROL/lab/revoke"
    fi
    poll
done
# A script that starts anew logs in again: that must cost no request upstream.
log_in
poll

printf '{"client": "curl", "logins": %d, "polls": %d, "errors": %d}\n' "$logins" "$polls" "$errors"
((errors == 0 && polls == polls_due + 1))
