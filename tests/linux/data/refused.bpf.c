// A program that every verifier refuses: what a map look-up gives may be null. Built with
//   bombus build --strip refused.bpf.c -o refused.bpf.o
// and --cflag -ffile-prefix-map=$PWD=. --cflag -fdebug-compilation-dir=. to leave out where that was.
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, int);
    __type(value, long);
} counts SEC(".maps");

SEC("xdp")
int forgetful(struct xdp_md *ctx)
{
    int key = 0;
    long *value = bpf_map_lookup_elem(&counts, &key);

    /* the check for null belongs here */
    *value += 1;
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
