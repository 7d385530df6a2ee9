#!/bin/sh
# Compose gives interfaces no stable names: call the one with a lan address lan0, then become the agent.
set -eu
interface=$(ip -o -4 addr show | awk '$4 ~ /^192\.0\.2\./ { print $2; exit }')
if [ "$interface" != lan0 ]; then
    ip link set "$interface" down
    ip link set "$interface" name lan0
    ip link set lan0 up
fi
mkdir -p /run/haagent
exec haagent run -f /etc/haagent/keepalived.conf -f /etc/haagent/haagent.conf -i "$NODE" --node "$NODE"
