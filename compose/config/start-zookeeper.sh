#!/bin/sh
# Debian's ZooKeeper as member $ID of three, with its data in the container.
set -eu
data=/tmp/zookeeper
mkdir -p $data
echo "$ID" >$data/myid
cat >$data/zoo.cfg <<EOF
tickTime=200
initLimit=50
syncLimit=10
dataDir=$data
clientPort=2181
admin.enableServer=false
4lw.commands.whitelist=srvr
server.1=198.51.100.14:2888:3888
server.2=198.51.100.15:2888:3888
server.3=198.51.100.16:2888:3888
EOF
java=/usr/share/java
exec java -Xmx96m -XX:+UseSerialGC -cp "$java/zookeeper.jar:$java/slf4j-simple.jar" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain $data/zoo.cfg
