#!/bin/sh
# notify_master "/etc/haagent/epoch.sh NAME": tells HAProxy the epoch of the claim that was just won.
set -eu
name=$1
map=/etc/haproxy/epoch.map
printf '%s %s\n' "$name" "$HAAGENT_EPOCH" >"$map.new"
if [ -e "$map" ]; then
    grep -v "^$name " "$map" >>"$map.new" || true
fi
mv "$map.new" "$map"
# The running HAProxy reads maps at its start only; change its copy, too.
printf 'set map %s %s %s\n' "$map" "$name" "$HAAGENT_EPOCH" | socat - /run/haproxy/admin.sock
