#!/bin/sh
# Compose gives interfaces no stable names: call the one with a lan address lan0, then become the agent.
# COMPOSE_PROFILES names the arbiter, and says whether there are three nodes.
set -eu
interface=$(ip -o -4 addr show | awk '$4 ~ /^192\.0\.2\./ { print $2; exit }')
if [ "$interface" != lan0 ]; then
    ip link set "$interface" down
    ip link set "$interface" name lan0
    ip link set lan0 up
fi
arbiter=etcd nodes=two
for profile in $(echo "$COMPOSE_PROFILES" | tr , ' '); do
    case $profile in
        three) nodes=three ;;
        *) arbiter=$profile ;;
    esac
done
mkdir -p /run/haagent
exec haagent run -i "$NODE" --node "$NODE" -f /etc/haagent/keepalived.conf \
    -f "/etc/haagent/arbiter-$arbiter.conf" -f "/etc/haagent/peers-$nodes.conf"
