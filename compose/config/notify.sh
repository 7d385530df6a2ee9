#!/bin/sh
# keepalived's arguments, plus the epoch: a number that grows with every change of holder and is never used twice.
echo "notify: $1 $2 is $3 (priority $4, epoch $HAAGENT_EPOCH)" >/proc/1/fd/2
