/* What the C twins of examples/bpf share. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct eth { __u8 dst[6], src[6]; __be16 proto; };
struct ip { __u8 ihl : 4, version : 4, tos; __be16 len, id, frag; __u8 ttl, proto; __be16 check; __be32 src, dst; };
struct ip6 { __u8 prio : 4, version : 4, flow[3]; __be16 len; __u8 next, hop; __be32 src[4], dst[4]; };
struct tcp {
	__be16 src, dst; __be32 seq, ack_seq;
	__u8 res : 4, doff : 4, fin : 1, syn : 1, rst : 1, psh : 1, ack : 1, urg : 1, ece : 1, cwr : 1;
	__be16 window, check, urg_ptr;
};
struct udp { __be16 src, dst, len, check; };

#define PARSE(type, name, off, otherwise) \
	struct type *name = (void *)(long)ctx->data + (off); \
	if ((void *)(name + 1) > (void *)(long)ctx->data_end) return otherwise
