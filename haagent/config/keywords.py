"""The keywords of keepalived 2.2.7 and 2.4 and of haagent's own blocks, one row each.

Columns, two blanks apart: keyword, what follows it (``[...]`` optional, ``...`` repeated, ``{}`` a section, ``{LINE}`` a
block with one entry a line, ``-`` nothing), what haagent makes of it (see ``grammar.Verdict``), and the remark the user
reads when that is not "do". A context is the block a keyword stands in.
"""

from __future__ import annotations

_TOP = """
global_defs                {}                          do
vrrp_instance              NAME {}                     do
vrrp_script                NAME {}                     do
vrrp_sync_group            NAME {}                     do
arbiter                    KIND [{}]                   do
peers                      {}                          do
haagent                    {}                          do
vrrp_track_process         NAME {}                     do
track_file                 NAME {}                     do
track_haproxy              NAME {}                     do
track_peer                 NAME {}                     do
bfd_instance               NAME {LINE}                 note  BFD is not implemented; refused where an instance tracks it
net_namespace              NAME                        do
net_namespace_ipvs         NAME                        lvs
namespace_with_ipsets      -                           note  there are no ipsets
instance                   NAME                        do    pid files are /run/keepalived/keepalived_NAME.pid and vrrp_NAME.pid
use_pid_dir                -                           do    pid files are /run/keepalived/keepalived.pid and vrrp.pid
child_wait_time            SECONDS                     note  a stop waits up to 3 s for the arbiter and 10 s in all
linkbeat_use_polling       -                           warn  nothing is polled: every driver of today reports its link; where one does not, track a script that asks it
linkbeat_interfaces        {LINE}                      warn  nothing is polled: every driver of today reports its link; where one does not, track a script that asks it
interface_up_down_delays   {IF DOWN [UP]}              do
garp_group                 {}                          do
track_group                NAME {LINE}                 warn  static entries are put back within a second and fault no instance; track a script that looks for them
static_ipaddress           {ADDRESS}                   do
static_routes              {ROUTE}                     do
static_rules               {RULE}                      do
virtual_server             ADDRESS [...] {LINE}        lvs
virtual_server_group       NAME {LINE}                 lvs
group                      NAME {LINE}                 lvs
SSL                        {LINE}                      lvs
"""

_GLOBAL_DEFS = """
router_id                  NAME                        do
enable_script_security     [...]                       do
script_user                USER [GROUP]                do
vrrp_version               2|3                         do
vrrp_mcast_group4          ADDRESS                     do
vrrp_mcast_group6          ADDRESS                     do
default_interface          IF                          do
vrrp_garp_master_delay     SECONDS                     do
vrrp_garp_master_repeat    N                           do
vrrp_garp_master_refresh   SECONDS                     do
vrrp_garp_master_refresh_repeat  N                     do
vrrp_garp_lower_prio_delay  SECONDS                    do
vrrp_garp_lower_prio_repeat  N                         do
vrrp_min_garp              [BOOL]                      do
vrrp_lower_prio_no_advert  [BOOL]                      do
vrrp_higher_prio_send_advert  [BOOL]                   do
vrrp_down_timer_adverts    N                           do
vrrp_check_unicast_src     [BOOL]                      do
vrrp_skip_check_adv_addr   [BOOL]                      do
vrrp_strict                [BOOL]                      do
v3_checksum_as_v2          [BOOL]                      do
vrrp_notify_priority_changes  [BOOL]                   do
vrrp_startup_delay         SECONDS                     do
log_unknown_vrids          -                           do
vrrp_owner_ignore_adverts  [BOOL]                      refuse  an owner here always hears adverts
vrrp_garp_interval         SECONDS                     do
vrrp_gna_interval          SECONDS                     do
vrrp_garp_extra_if         [all] SECONDS               warn  every address is announced on its own interface; garp_master_refresh repeats that
vrrp_delay_after_boot      SECONDS                     do
notification_email         {ADDRESS ...}               do
notification_email_from    ADDRESS                     do
smtp_server                HOST [PORT]                 do
smtp_connect_timeout       SECONDS                     do
smtp_helo_name             NAME                        do
smtp_alert                 [BOOL]                      do
smtp_alert_vrrp            [BOOL]                      do
smtp_alert_checker         [BOOL]                      lvs
no_email_faults            [BOOL]                      do
no_checker_emails          [BOOL]                      lvs
checker_log_all_failures   [BOOL]                      lvs
rs_init_notifies           [BOOL]                      lvs
use_symlink_paths          [BOOL]                      note  scripts run by the path that is written
set_supplementary_groups   [BOOL]                      note  scripts always have their user's supplementary groups
startup_script             CMD ...                     do
startup_script_timeout     SECONDS                     do
shutdown_script            CMD ...                     do
shutdown_script_timeout    SECONDS                     do
vrrp_iptables              [IN OUT]                    note  the gate filters, without iptables
vrrp_ipsets                [NAMES ...]                 note  the gate filters, without ipsets
nftables                   [TABLE]                     note  the gate has its own table
nftables_priority          N                           note  the gate has its own table
nftables_counters          -                           note  the gate has its own table
nftables_ifindex           -                           note  the gate has its own table
nftables_ipvs              [TABLE]                     lvs
nftables_ipvs_priority     N                           lvs
nftables_ipvs_start_fwmark  N                          lvs
lvs_sync_daemon            IF [...]                    lvs
lvs_timeouts               KIND [...]                  lvs
lvs_flush                  -                           lvs
lvs_flush_on_stop          [...]                       lvs
lvs_flush_onstop           [...]                       lvs
lvs_netlink_cmd_rcv_bufs   N                           lvs
lvs_netlink_cmd_rcv_bufs_force  [BOOL]                 lvs
lvs_netlink_monitor_rcv_bufs  N                        lvs
lvs_netlink_monitor_rcv_bufs_force  [BOOL]             lvs
lvs_notify_fifo            PATH [USER GROUP]           lvs
lvs_notify_fifo_script     CMD ...                     lvs
lvs_process_name           NAME                        lvs
vs_stats_update_interval   N                           lvs
snmp_vs_stats_update_interval  N                       lvs
snmp_rs_stats_update_interval  N                       lvs
disable_local_igmp         -                           note  the kernel answers queries as it does for any program
notify_fifo                PATH [USER GROUP]           do
notify_fifo_script         CMD ...                     do
vrrp_notify_fifo           PATH [USER GROUP]           do
vrrp_notify_fifo_script    CMD ...                     do
fifo_write_vrrp_states_on_reload  -                    do
dynamic_interfaces         [allow_if_changes]          do
max_auto_priority          [N]                         note  scheduling belongs to the service unit
min_auto_priority_delay    N                           note  scheduling belongs to the service unit
vrrp_priority              N                           do
vrrp_no_swap               -                           do
vrrp_rt_priority           N                           do
vrrp_cpu_affinity          N ...                       do
vrrp_rlimit_rttime         N                           note  scheduling belongs to the service unit
checker_priority           N                           lvs
checker_no_swap            -                           lvs
checker_rt_priority        N                           lvs
checker_cpu_affinity       N ...                       lvs
checker_rlimit_rttime      N                           lvs
bfd_priority               N                           note  there is no BFD process
bfd_no_swap                -                           note  there is no BFD process
bfd_rt_priority            N                           note  there is no BFD process
bfd_cpu_affinity           N ...                       note  there is no BFD process
bfd_rlimit_rttime          N                           note  there is no BFD process
process_names              -                           note  processes are called haagent
process_name               NAME                        note  processes are called haagent
vrrp_process_name          NAME                        note  processes are called haagent
checker_process_name       NAME                        note  processes are called haagent
bfd_process_name           NAME                        note  processes are called haagent
vrrp_netlink_cmd_rcv_bufs  N                           note  buffers have fixed sizes; what is lost is read again
vrrp_netlink_cmd_rcv_bufs_force  [BOOL]                note  buffers have fixed sizes; what is lost is read again
vrrp_netlink_monitor_rcv_bufs  N                       note  buffers have fixed sizes; what is lost is read again
vrrp_netlink_monitor_rcv_bufs_force  [BOOL]            note  buffers have fixed sizes; what is lost is read again
process_monitor_rcv_bufs   N                           note  processes are counted in /proc
process_monitor_rcv_bufs_force  [BOOL]                 note  processes are counted in /proc
vrrp_rx_bufs_policy        POLICY                      note  one socket serves all instances, with a buffer of 4 MB
vrrp_rx_bufs_multiplier    N                           note  one socket serves all instances, with a buffer of 4 MB
vmac_prefix                NAME                        do
vmac_addr_prefix           NAME                        do
umask                      BITS ...                    do
random_seed                N                           note  there is no ${_RANDOM}
reload_check_config        [LOGFILE]                   note  haagent always checks a new configuration before it takes it
reload_time_file           PATH                        warn  reload with SIGHUP, from a timer of systemd
reload_repeat              -                           warn  reload with SIGHUP, from a timer of systemd
reload_file                [PATH]                      note  reload with SIGHUP; a broken file changes nothing
config_save_dir            PATH                        note  haagent check --json prints what was understood
tmp_config_directory       PATH                        note  no temporary copy is made
data_use_instance          [BOOL]                      do
state_dump_file            PATH                        do
stats_dump_file            PATH                        do
json_dump_file             PATH                        do
json_version               N                           do
iproute_usr_dir            PATH                        note  tables and protocols are numbers, or names of /etc/iproute2
iproute_etc_dir            PATH                        note  tables and protocols are numbers, or names of /etc/iproute2
include_check              [CHECK ...]                 do
enable_snmp_vrrp           -                           warn  there is no SNMP; use the metrics
enable_snmp_checker        -                           lvs
enable_snmp_rfc            -                           warn  there is no SNMP; use the metrics
enable_snmp_rfcv2          -                           warn  there is no SNMP; use the metrics
enable_snmp_rfcv3          -                           warn  there is no SNMP; use the metrics
enable_traps               -                           warn  there is no SNMP; use the metrics
snmp_socket                PATH                        warn  there is no SNMP; use the metrics
enable_dbus                -                           warn  there is no D-Bus interface; use the control socket
dbus_service_name          NAME                        note  there is no D-Bus interface
dbus_no_interface_name     NAME                        note  there is no D-Bus interface
"""

_GARP_GROUP = """
garp_interval              SECONDS                     do
gna_interval               SECONDS                     do
interface                  IF                          do
interfaces                 {IF ...}                    do
"""

_VRRP_SCRIPT = """
script                     CMD ...                     do
interval                   SECONDS                     do
timeout                    SECONDS                     do
weight                     N [reverse]                 do
rise                       N                           do
fall                       N                           do
user                       USER [GROUP]                do
init_fail                  -                           do
"""

_TRACK_FILE = """
file                       PATH                        do
weight                     N [reverse]                 do
init_file                  [VALUE overwrite]           do
"""

_TRACK_PROCESS = """
process                    CMD ...                     do
param_match                exact|initial|partial       do
weight                     N [reverse]                 do
quorum                     N                           do
quorum_max                 N                           do
delay                      SECONDS                     do
fork_delay                 SECONDS                     do
terminate_delay            SECONDS                     do
full_command               -                           do
"""

_TRACK_HAPROXY = """
socket                     PATH                        do
interval                   SECONDS                     do
timeout                    SECONDS                     do
weight                     N [reverse]                 do
rise                       N                           do
fall                       N                           do
backend                    NAME [LEAST]                do    how many of its servers must be usable (1)
frontend                   NAME ...                    do    must be open
epoch_map                  PATH                        do    keep this HAProxy map at the epochs of this node's instances
"""

_TRACK_PEER = """
node                       NAME ...                    do    without it: every other node of the peers block
least                      N                           do    how many of them must be seen (1)
timeout                    SECONDS                     do    silence after which a node is not seen (3)
weight                     N [reverse]                 do    -20 if not given
"""

_TRACKING_AND_NOTIFY = """
track_script               {NAME [weight N]}           do
track_interface            {IF [weight N]}             do
track_process              {NAME [weight N]}           do
track_file                 {NAME [weight N]}           do
track_haproxy              {NAME [weight N]}           do
track_peer                 {NAME [weight N]}           do
track_bfd                  {LINE}                      refuse  BFD is not implemented: run a BFD daemon (FRR bfdd) and track a script that asks it
notify                     CMD ...                     do
veto_script                CMD ...                     do    haagent's own: asked before this node claims
veto_timeout               SECONDS                     do    haagent's own: how long it may take (5)
veto_pause                 SECONDS                     do    haagent's own: asked again after that (3)
notify_master              CMD ...                     do
notify_backup              CMD ...                     do
notify_fault               CMD ...                     do
notify_stop                CMD ...                     do
smtp_alert                 [BOOL]                      do
"""

_VRRP_SYNC_GROUP = (
    _TRACKING_AND_NOTIFY
    + """
group                      {NAME ...}                  do
sync_group_tracking_weight  -                          do
notify_priority_changes    [BOOL]                      do
global_tracking            -                           note  members of a group always move together
"""
)

_VRRP_INSTANCE = (
    _TRACKING_AND_NOTIFY
    + """
state                      MASTER|BACKUP               do
interface                  IF                          do
virtual_router_id          N                           do
priority                   N                           do
advert_int                 SECONDS                     do
version                    2|3                         do
virtual_ipaddress          {ADDRESS}                   do
virtual_ipaddress_excluded  {ADDRESS}                  do
no_virtual_ipaddress       -                           do
authentication             {}                          do
auth_hmac                  {LINE}                      refuse  not implemented: adverts would go out and be taken without the HMAC; let an arbiter decide instead
unicast_peer               {ADDRESS [min_ttl N] [max_ttl N]}  do
unicast_src_ip             ADDRESS                     do
mcast_src_ip               ADDRESS                     do
mcast_dst_ip               ADDRESS                     do
unicast_ttl                N                           do
check_unicast_src          [BOOL]                      do
preempt                    -                           do
nopreempt                  -                           do
preempt_delay              SECONDS                     do
dont_track_primary         -                           do
notify_deleted             [CMD ...]                   do
notify_master_rx_lower_pri  CMD ...                    do
garp_master_delay          SECONDS                     do
garp_master_repeat         N                           do
garp_master_refresh        SECONDS                     do
garp_master_refresh_repeat  N                          do
garp_lower_prio_delay      SECONDS                     do
garp_lower_prio_repeat     N                           do
down_timer_adverts         N                           do
lower_prio_no_advert       [BOOL]                      do
higher_prio_send_advert    [BOOL]                      do
skip_check_adv_addr        [BOOL]                      do
strict_mode                [BOOL]                      do
v3_checksum_as_v2          [BOOL]                      do
accept                     -                           do
no_accept                  -                           do
owner_ignore_adverts       [BOOL]                      refuse  an owner here always hears adverts
vrf                        IF                          refuse  adverts would go to another routing domain
notify_priority_changes    [BOOL]                      do
track_src_ip               -                           do
unicast_fault_no_peer      -                           note  an empty list of peers is always refused
old_unicast_checksum       [never]                     warn  a unicast peer of keepalived 1.3.6 or older is not understood; update it
timer_expired_backup       [N]                         note  a MASTER that woke up late always asks the arbiter first
thread_timer_expired       [N]                         note  a MASTER that woke up late always asks the arbiter first
garp_extra_if              [all] SECONDS               warn  every address is announced on its own interface; garp_master_refresh repeats that
promote_secondaries        -                           do
virtual_routes             {ROUTE}                     do
virtual_rules              {RULE}                      do
use_vmac                   [NAME MAC netlink_notify_msg group N]  do
use_vmac_addr              -                           do
vmac_xmit_base             -                           do
use_ipvlan                 [NAME ADDRESS MODE ...]     refuse  an ipvlan has the interface's own MAC: use unicast_src_ip or mcast_src_ip for the address, or use_vmac
native_ipv6                -                           note  the first address says which family it is
linkbeat_use_polling       -                           warn  nothing is polled: every driver of today reports its link; where one does not, track a script that asks it
lvs_sync_daemon_interface  IF                          lvs
kernel_rx_buf_size         N                           note  one socket serves all instances, with a buffer of 4 MB
debug                      N                           note  use log_level in a haagent block
"""
)

_AUTHENTICATION = """
auth_type                  PASS|AH                     do
auth_pass                  PASSWORD                    do
"""

_PLUGIN = """
endpoints                  ADDRESS ...                 do
domain                     NAME                        do
lease                      TIME                        do
renew                      TIME                        do
guard                      TIME                        do
ca                         FILE                        do
cert                       FILE                        do
key                        FILE                        do
username                   NAME                        do
password_file              FILE                        do
password_env               VARIABLE                    do
server_name                NAME                        do    etcd: what the server's certificate must say
tls                        yes                         do    etcd, postgresql, consul: encrypt with the system's own authorities
chroot                     PATH                        do    zookeeper: keep everything below this path
auth                       sasl                        do    zookeeper: DIGEST-MD5 instead of digest
key_file                   FILE                        do    witness: the file it was started with
database                   NAME                        do    postgresql: as the user where it is missing
schema                     NAME                        do    postgresql: where the table is; haagent where it is missing
datacenter                 NAME                        do    consul: whose key/value store; the agent's own where it is missing
kubeconfig                 FILE                        do    kubernetes: which cluster, and as whom
context                    NAME                        do    kubernetes: of the kubeconfig; its current one where it is missing
namespace                  NAME                        do    kubernetes: where the leases are
"""

_QUORUM = """
etcd                       {}                          do
zookeeper                  {}                          do
file                       {}                          do
witness                    {}                          do
postgresql                 {}                          do
consul                     {}                          do
kubernetes                 {}                          do
lease                      TIME                        do
renew                      TIME                        do
guard                      TIME                        do
domain                     NAME                        do
"""

_PEERS = """
port                       N                           do
key_file                   FILE                        do
listen                     ADDRESS ...                 do
failsafe                   [BOOL]                      do
node                       NAME ADDRESS ...            do
"""

_HAAGENT = """
node                       NAME                        do
gate                       auto|required|bpf|nftables|lifetime|off  do
control_socket             PATH                        do
minimum_tenure             TIME                        do
log_level                  LEVEL                       do
log_format                 auto|human|json             do
http                       ADDRESS:PORT ...            do
agent_check                ADDRESS:PORT [INSTANCE]     do
"""

TABLES = {
    "top": _TOP,
    "global_defs": _GLOBAL_DEFS,
    "garp_group": _GARP_GROUP,
    "vrrp_script": _VRRP_SCRIPT,
    "track_file": _TRACK_FILE,
    "vrrp_track_process": _TRACK_PROCESS,
    "track_haproxy": _TRACK_HAPROXY,
    "track_peer": _TRACK_PEER,
    "vrrp_sync_group": _VRRP_SYNC_GROUP,
    "vrrp_instance": _VRRP_INSTANCE,
    "authentication": _AUTHENTICATION,
    "arbiter": _PLUGIN,
    "quorum": _QUORUM,
    "peers": _PEERS,
    "haagent": _HAAGENT,
}

# Older spellings that keepalived still takes.
ALIASES = {
    "vrrp_track_file": "track_file",
    "vrrp_vmac_garp_intvl": "vrrp_garp_extra_if",
    "vmac_garp_intvl": "garp_extra_if",
    "enable_snmp_keepalived": "enable_snmp_vrrp",
    "vrrp_rlimit_rtime": "vrrp_rlimit_rttime",
    "checker_rlimit_rtime": "checker_rlimit_rttime",
    "bfd_rlimit_rtime": "bfd_rlimit_rttime",
}

# Names that people write and keepalived never had, with what they meant.
WRONG_NAMES = {
    "fail": "fall",
    "script_security": "enable_script_security (in global_defs)",
    "checksum_compatibility": "v3_checksum_as_v2",
    "dont_track": "dont_track_primary",
    "no_preempt": "nopreempt",
}
