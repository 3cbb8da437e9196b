#!/usr/bin/env bash
# curl: shows a stream as it is; reading the lines and coming back with the id are the shell's.
# The timeout for silence is a speed limit: less than a byte a second for 90 s.
url=$1 token_file=$2 id=$3 wait=3
while true; do
  type="" data="" next=$id
  while IFS= read -r line; do
    case $line in
      "id: "*) next=${line#id: } ;;
      "event: "*) type=${line#event: } ;;
      "data: "*) data=${line#data: } ;;
      "retry: "*) wait=$(awk "BEGIN { print ${line#retry: } / 1000 }") ;;
      "")
        id=$next
        [ -z "$data" ] || printf '{"type":"%s","id":"%s","data":%s}\n' "$type" "$id" "$data"
        type="" data=""
        ;;
    esac
  done < <(exec curl -sSN -L --fail -y 90 -Y 1 -H "Last-Event-ID: $id" \
    -H @<(echo "Authorization: Bearer $(<"$token_file")") "$url")
  sleep "$wait"
done
