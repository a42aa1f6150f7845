"""Lookups in arrays with a key that is known and inside the array are never null (from Linux 6.14 on).

Source: Linux 6.14 kernel/bpf/verifier.c: get_constant_map_key.
"""
