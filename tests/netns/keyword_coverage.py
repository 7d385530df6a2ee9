"""Where each keyword of keepalived that is essential or common is tested on a real kernel.

The classes are those of a count over 83 public configurations: E essential, C common; some rare ones (R) stand here
because much depends on them. One row each: context, keyword, class, tests (``file::function``, below tests/netns;
a row of the side-by-side suite is ``side::name of the case``).
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    context: str
    keyword: str
    weight: str
    tests: tuple[str, ...]


_TEXT = """
top             net_namespace               C  dropin_command_line::test_runs_inside_the_net_namespace_of_the_configuration
top             use_pid_dir                 R  dropin_dumps::test_pid_files_are_where_keepalived_puts_them
top             instance                    R  dropin_dumps::test_pid_files_are_where_keepalived_puts_them
top             vrrp_script                 E  agent_scripts::test_a_failing_check_is_fault_and_rise_brings_it_back
top             vrrp_sync_group             C  side::sync group
top             vrrp_track_process          C  dropin_tracking::test_a_process_below_its_quorum_is_a_fault
top             track_file                  R  side::file
top             static_ipaddress            R  side::static entries
top             garp_group                  R  keywords::test_announcements_keep_their_pace
top             interface_up_down_delays    R  dropin_host::test_a_link_that_comes_back_before_its_delay_is_over_was_never_away
global_defs     router_id                   E  dropin_mail::test_every_change_of_state_is_mailed_but_faults_if_they_are_not_wanted
global_defs     notification_email          E  dropin_mail::test_every_change_of_state_is_mailed_but_faults_if_they_are_not_wanted
global_defs     notification_email_from     E  dropin_mail::test_every_change_of_state_is_mailed_but_faults_if_they_are_not_wanted
global_defs     smtp_server                 E  dropin_mail::test_every_change_of_state_is_mailed_but_faults_if_they_are_not_wanted
global_defs     smtp_connect_timeout        E  dropin_mail::test_a_dead_server_costs_a_line_in_the_log_and_nothing_else
global_defs     enable_script_security      E  agent_scripts::test_a_check_that_cannot_run_is_a_failed_check
global_defs     script_user                 E  agent_scripts::test_notify_gets_its_arguments_in_order_with_the_epoch
global_defs     vrrp_version                C  interop_agent::test_elects_and_hands_over
global_defs     vrrp_mcast_group4           C  keywords::test_groups_sources_and_versions
global_defs     vrrp_garp_master_delay      C  keywords::test_announcements_come_in_the_bursts_that_were_asked_for
global_defs     vrrp_garp_master_repeat     C  keywords::test_announcements_come_in_the_bursts_that_were_asked_for
global_defs     vrrp_garp_master_refresh    C  keywords::test_a_worse_master_is_announced_over
global_defs     vrrp_garp_lower_prio_delay  C  keywords::test_a_worse_master_is_announced_over
global_defs     vrrp_garp_lower_prio_repeat  C  keywords::test_a_worse_master_is_announced_over
global_defs     vrrp_check_unicast_src      C  keywords::test_only_peers_are_heard
global_defs     vrrp_skip_check_adv_addr    C  keywords::test_an_advertisement_with_other_addresses_counts_if_it_shall
global_defs     vrrp_garp_interval          C  keywords::test_announcements_keep_their_pace
global_defs     vrrp_gna_interval           C  keywords::test_announcements_come_in_the_bursts_that_were_asked_for
global_defs     vrrp_higher_prio_send_advert  C  keywords::test_a_master_may_keep_silent_towards_a_worse_one_and_yield_in_silence
global_defs     vrrp_strict                 C  dropin_accept::test_what_a_master_takes
global_defs     vrrp_notify_fifo            C  dropin_fifo::test_a_life_reads_like_keepalived
global_defs     vrrp_notify_fifo_script     C  dropin_fifo::test_the_script_of_a_fifo_gets_its_path_and_ends_with_us
global_defs     vrrp_startup_delay          C  keywords::test_a_start_may_be_delayed
global_defs     dynamic_interfaces          C  dropin_host::test_an_interface_may_appear_later
global_defs     max_auto_priority           C  keywords::test_groups_sources_and_versions
global_defs     vmac_prefix                 R  vmac::test_addresses_on_other_interfaces_get_a_virtual_mac_of_their_own
vrrp_script     script                      E  agent_scripts::test_a_failing_check_is_fault_and_rise_brings_it_back
vrrp_script     interval                    E  keywords::test_a_check_that_hangs_is_a_failed_one_and_init_fail_waits_for_the_first
vrrp_script     timeout                     C  keywords::test_a_check_that_hangs_is_a_failed_one_and_init_fail_waits_for_the_first
vrrp_script     weight                      E  agent_scripts::test_a_weighted_check_changes_the_priority_on_the_wire
vrrp_script     rise                        E  side::script with rise and fall
vrrp_script     fall                        E  agent_scripts::test_a_single_failure_is_forgiven_where_fall_is_two
vrrp_script     user                        C  keywords::test_a_check_that_hangs_is_a_failed_one_and_init_fail_waits_for_the_first
vrrp_script     init_fail                   C  keywords::test_a_check_that_hangs_is_a_failed_one_and_init_fail_waits_for_the_first
vrrp_track_process  process                 C  dropin_tracking::test_a_process_below_its_quorum_is_a_fault
vrrp_track_process  weight                  C  dropin_tracking::test_the_weight_of_a_process_in_a_group_and_its_delay
vrrp_sync_group group                       C  side::sync group
vrrp_sync_group notify                      C  side::sync group
vrrp_sync_group notify_master               C  dropin_fifo::test_a_life_reads_like_keepalived
vrrp_instance   state                       E  side::plain
vrrp_instance   interface                   E  side::own interface
vrrp_instance   virtual_router_id           E  keywords::test_groups_sources_and_versions
vrrp_instance   priority                    E  side::reload: another priority, keywords::test_an_owner_does_not_wait
vrrp_instance   advert_int                  E  interop_agent::test_takes_over_when_the_other_is_killed
vrrp_instance   version                     C  side::version 2 with a password
vrrp_instance   virtual_ipaddress           E  side::address options
vrrp_instance   virtual_ipaddress_excluded  C  side::excluded of both families
vrrp_instance   authentication              E  interop_agent::test_different_passwords_are_said_by_both
vrrp_instance   unicast_peer                E  keywords::test_only_peers_are_heard, keywords::test_a_peer_from_too_far_away_is_not_heard
vrrp_instance   unicast_src_ip              E  keywords::test_only_peers_are_heard
vrrp_instance   check_unicast_src           C  keywords::test_only_peers_are_heard
vrrp_instance   mcast_src_ip                C  keywords::test_groups_sources_and_versions
vrrp_instance   nopreempt                   E  interop_agent::test_the_better_one_does_not_preempt_when_told_not_to
vrrp_instance   preempt_delay               C  keywords::test_a_better_node_waits_before_it_preempts
vrrp_instance   track_interface             C  agent_scripts::test_a_lost_tracked_interface_is_fault
vrrp_instance   track_script                E  agent_scripts::test_a_failing_check_is_fault_and_rise_brings_it_back
vrrp_instance   track_process               R  dropin_tracking::test_a_process_below_its_quorum_is_a_fault
vrrp_instance   track_file                  R  side::weighted file
vrrp_instance   dont_track_primary          R  side::own interface not tracked
vrrp_instance   notify                      E  agent_scripts::test_notify_gets_its_arguments_in_order_with_the_epoch
vrrp_instance   notify_master               E  agent_scripts::test_notify_gets_its_arguments_in_order_with_the_epoch
vrrp_instance   notify_backup               E  agent_scripts::test_notify_gets_its_arguments_in_order_with_the_epoch
vrrp_instance   notify_fault                E  side::tracked interface
vrrp_instance   notify_stop                 E  side::plain
vrrp_instance   smtp_alert                  C  dropin_mail::test_every_change_of_state_is_mailed_but_faults_if_they_are_not_wanted
vrrp_instance   garp_master_delay           C  keywords::test_a_worse_master_is_announced_over
vrrp_instance   garp_master_repeat          C  keywords::test_announcements_come_in_the_bursts_that_were_asked_for
vrrp_instance   garp_master_refresh         C  keywords::test_announcements_come_in_the_bursts_that_were_asked_for
vrrp_instance   garp_master_refresh_repeat  C  keywords::test_announcements_come_in_the_bursts_that_were_asked_for
vrrp_instance   garp_lower_prio_delay       C  keywords::test_a_worse_master_is_announced_over
vrrp_instance   preempt                     E  keywords::test_a_better_node_waits_before_it_preempts
vrrp_instance   notify_deleted              E  keywords::test_an_instance_that_a_reload_removes_says_so
vrrp_instance   notify_master_rx_lower_pri  E  keywords::test_a_worse_master_is_announced_over
vrrp_instance   garp_lower_prio_repeat      C  keywords::test_a_worse_master_is_announced_over
vrrp_instance   lower_prio_no_advert        R  keywords::test_a_master_may_keep_silent_towards_a_worse_one_and_yield_in_silence
vrrp_instance   higher_prio_send_advert     R  keywords::test_a_master_yields_to_a_better_one_aloud
vrrp_instance   skip_check_adv_addr         R  keywords::test_an_advertisement_with_other_addresses_counts_if_it_shall
vrrp_instance   strict_mode                 R  dropin_accept::test_what_a_master_takes
vrrp_instance   accept                      R  dropin_accept::test_what_a_master_takes
vrrp_instance   no_accept                   R  dropin_accept::test_a_reload_changes_it_and_the_end_leaves_nothing
vrrp_instance   promote_secondaries         R  dropin_routes::test_promote_secondaries_is_set_and_put_back
vrrp_instance   native_ipv6                 R  keywords::test_a_better_node_waits_before_it_preempts
vrrp_instance   track_src_ip                R  dropin_host::test_the_loss_of_a_tracked_source_is_a_fault
vrrp_instance   virtual_routes              C  dropin_routes::test_routes_and_rules_follow_the_addresses
vrrp_instance   virtual_rules               R  dropin_routes::test_routes_and_rules_follow_the_addresses
vrrp_instance   use_vmac                    C  vmac::test_master_sends_the_frames_that_keepalived_sends
vrrp_instance   vmac_xmit_base              R  vmac::test_master_sends_the_frames_that_keepalived_sends
vrrp_instance   use_vmac_addr               R  vmac::test_addresses_on_other_interfaces_get_a_virtual_mac_of_their_own
authentication  auth_type                   E  side::version 2 with a password
authentication  auth_pass                   E  interop_agent::test_different_passwords_are_said_by_both
"""


def _row(line: str) -> Row:
    context, keyword, weight, tests = line.split(maxsplit=3)
    return Row(context, keyword, weight, tuple(tests.split(", ")))


ROWS = tuple(_row(line) for line in _TEXT.splitlines() if line)
