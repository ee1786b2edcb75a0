#!/bin/sh
# Lists the family's players, once with a token of our own and once with a call that the keeper carries. Needs curl.
#
#   KEEPER_URL=http://localhost:8080 KEEPER_KEY=… sh examples/shell/players.sh
#
# A tool's key is enough. The app needs the scope family:devices:view.
set -eu
: "${KEEPER_URL:?the address of the keeper, such as http://localhost:8080}"
: "${KEEPER_KEY:?a key of the keeper}"
KEEPER_URL=${KEEPER_URL%/}
YOTO_API_URL=${YOTO_API_URL:-https://api.yotoplay.com}

# get SECRET URL [curl's options]: prints the answer, or says what is wrong and fails. The secret goes through a pipe: among the arguments
# every user of the machine could read it with ps.
get() {
  secret=$1 url=$2
  shift 2
  answer=$(printf 'Authorization: Bearer %s\n' "$secret" |
    curl --silent --show-error --max-time 30 --header @- --write-out '\n%{http_code}' "$@" "$url") || exit 1
  status=${answer##*
}
  answer=${answer%?"$status"}
  if [ "$status" -ge 300 ]; then
    printf '%s %s: %s\n' "$url" "$status" "$(explain "$answer")" >&2
    exit 1
  fi
  printf '%s\n' "$answer"
}

# The keeper's message and hint, or the answer as it is.
explain() {
  text=$(printf '%s' "$1" | sed -n 's/^{"error":"[^"]*","message":"\(.*\)"}$/\1/p' | sed 's/","hint":"/ /; s/\\"/"/g')
  printf '%s' "${text:-$1}"
}

# Name, id and connection of each player. With jq at hand this is: jq -r '.devices[] | [.name, .deviceId, .online] | join(", ")'
list() { tr '{' '\n' | sed -n 's/.*"deviceId":"\([^"]*\)".*"name":"\([^"]*\)".*"online":\([a-z]*\).*/  \2, \1, online: \3/p'; }

# 1. For a program that calls Yoto itself: a bare token, good for ten minutes at least where Yoto has such.
TOKEN=$(get "$KEEPER_KEY" "$KEEPER_URL/api/token?min_ttl=600" --header 'Accept: text/plain')
PLAYERS=$(get "$TOKEN" "$YOTO_API_URL/device-v2/devices/mine")
echo 'Asked with a token:'
echo "$PLAYERS" | list

# 2. Or without one: the keeper adds it on the way.
PLAYERS=$(get "$KEEPER_KEY" "$KEEPER_URL/api/yoto/device-v2/devices/mine")
echo 'Asked through the keeper:'
echo "$PLAYERS" | list
