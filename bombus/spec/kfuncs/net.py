"""Kfuncs of the network: congestion control, connection tracking, packets, tunnels, IPsec, queueing; and of HID."""

from __future__ import annotations

from bombus.spec.kfuncs.model import Kfunc, rows

ROWS: tuple[Kfunc, ...] = (
    *rows("struct_ops", "5.13", """
        tcp_slow_start Lets the window grow as slow start does.
        tcp_cong_avoid_ai Lets the window grow by one segment a round trip.
        tcp_reno_ssthresh The threshold after a loss, as Reno sets it.
        tcp_reno_cong_avoid The growth of the window, as Reno does it.
        tcp_reno_undo_cwnd The window before a reduction that was wrong, as Reno finds it.
        cubictcp_init Begins a connection as CUBIC does.
        cubictcp_recalc_ssthresh The threshold after a loss, as CUBIC sets it.
        cubictcp_cong_avoid The growth of the window, as CUBIC does it.
        cubictcp_state What CUBIC does when the state of a connection changes.
        cubictcp_cwnd_event What CUBIC does on an event of the window.
        cubictcp_acked What CUBIC does with acknowledged segments.
        dctcp_init Begins a connection as DCTCP does.
        dctcp_update_alpha What DCTCP does with an acknowledgement.
        dctcp_cwnd_event What DCTCP does on an event of the window.
        dctcp_ssthresh The threshold after a loss, as DCTCP sets it.
        dctcp_cwnd_undo The window before a reduction that was wrong, as DCTCP finds it.
        dctcp_state What DCTCP does when the state of a connection changes.
        bbr_init Begins a connection as BBR does.
        bbr_main What BBR does with an acknowledgement.
        bbr_sndbuf_expand How far BBR lets the send buffer grow.
        bbr_undo_cwnd The window before a reduction that was wrong, as BBR finds it.
        bbr_cwnd_event What BBR does on an event of the window.
        bbr_ssthresh The threshold after a loss, as BBR sets it.
        bbr_min_tso_segs The smallest burst of segments, as BBR sets it.
        bbr_set_state What BBR does when the state of a connection changes.
    """),
    *rows("conntrack", "5.18", """
        bpf_xdp_ct_lookup+an Finds the tracked connection that a tuple belongs to, for XDP.
        bpf_skb_ct_lookup+an Finds the tracked connection that a tuple belongs to, for tc.
        bpf_ct_release+r Gives a tracked connection back.
    """),
    *rows("conntrack", "6.0", """
        bpf_xdp_ct_alloc+an Makes a connection to be tracked, for XDP.
        bpf_skb_ct_alloc+an Makes a connection to be tracked, for tc.
        bpf_ct_insert_entry+anr Adds a new connection to those that are tracked.
        bpf_ct_set_timeout+t Says how long a new connection lives.
        bpf_ct_change_timeout+t Changes how long a tracked connection lives.
        bpf_ct_set_status+t Sets the state bits of a new connection.
        bpf_ct_change_status+t Changes the state bits of a tracked connection.
    """),
    *rows("conntrack", "6.1", """
        bpf_ct_set_nat_info+t Says how addresses of a new connection are translated.
    """),
    *rows("sched_cls", "6.2", """
        bpf_skb_get_xfrm_info Reads which IPsec interface and link a packet came by.
        bpf_skb_set_xfrm_info Chooses the IPsec interface and link of a packet.
    """),
    *rows("xdp", "6.3", """
        bpf_xdp_metadata_rx_timestamp+t Reads when the device received the frame.
        bpf_xdp_metadata_rx_hash+t Reads the hash that the device made of the frame.
    """),
    *rows("struct_ops", "6.3", """
        hid_bpf_get_data+n Gives a pointer to the data of a HID report.
    """),
    *rows("struct_ops_syscall", "6.3", """
        hid_bpf_allocate_context+ans Makes a context for a HID device.
        hid_bpf_release_context+rs Gives such a context back.
        hid_bpf_hw_request+s Sends a request to a HID device.
    """),
    *rows("skb", "6.4", """
        bpf_dynptr_from_skb+t Makes a dynptr for the data of a packet.
    """),
    *rows("xdp", "6.4", """
        bpf_dynptr_from_xdp Makes a dynptr for the data of a frame.
    """),
    *rows("sched_cls", "6.4", """
        bpf_skb_set_fou_encap Says how a packet is wrapped into UDP.
        bpf_skb_get_fou_encap Reads how a packet was wrapped into UDP.
    """),
    *rows("iterators", "6.5", """
        bpf_sock_destroy+t Closes a socket from an iterator.
    """),
    *rows("cgroup", "6.7", """
        bpf_sock_addr_set_sun_path Changes the address of a unix socket's call.
    """),
    *rows("xdp", "6.8", """
        bpf_xdp_metadata_rx_vlan_tag+t Reads the VLAN tag that the device took off the frame.
        bpf_xdp_get_xfrm_state+an Finds the IPsec state of some addresses.
        bpf_xdp_xfrm_state_release+r Gives an IPsec state back.
    """),
    *rows("sched_cls", "6.9", """
        bpf_sk_assign_tcp_reqsk+t Hands a SYN cookie's connection over to a listener.
    """),
    *rows("struct_ops_syscall", "6.10", """
        hid_bpf_hw_output_report+s Sends an output report to a HID device.
        hid_bpf_input_report+s Puts an input report into a HID device's stream.
    """),
    *rows("struct_ops", "6.11", """
        hid_bpf_try_input_report Puts an input report into the stream unless that would have to wait.
    """),
    *rows("xdp", "6.11", """
        bpf_xdp_flow_lookup+nt Finds the entry of a netfilter flow table.
    """),
    *rows("cgroup", "6.15", """
        bpf_sock_ops_enable_tx_tstamp+t Asks for time stamps of what a connection sends.
    """),
    *rows("struct_ops", "6.16", """
        bpf_skb_get_hash Reads the flow hash of a packet.
        bpf_kfree_skb+r Frees a packet.
        bpf_qdisc_skb_drop+r Puts a packet on the list of those to be dropped.
        bpf_qdisc_watchdog_schedule Wakes a queueing discipline at some time.
        bpf_qdisc_bstats_update Counts a packet in the statistics of a queueing discipline.
    """),
    *rows("tc", "6.18", """
        bpf_dynptr_from_skb_meta Makes a dynptr for the metadata in front of a packet.
    """),
    *rows("xdp", "6.18", """
        bpf_xdp_pull_data Brings bytes of a fragmented frame together at its front.
    """),
)  # fmt: skip
