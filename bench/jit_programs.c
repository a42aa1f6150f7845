/* Micro programs for bench/jit.py: the same source for BPF, and (-DNATIVE, without maps) for this machine. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef NATIVE
struct xdp_md { u8 *data, *data_end; };
#define PROGRAM
#define DATA(ctx) ((ctx)->data)
#define END(ctx) ((ctx)->data_end)
#else
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
#define PROGRAM __attribute__((section("xdp"), used))
#define DATA(ctx) ((u8 *)(long)(ctx)->data)
#define END(ctx) ((u8 *)(long)(ctx)->data_end)
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define MAP __attribute__((section(".maps"), used))
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*map_delete)(void *map, const void *key) = (void *)3;
static long (*tail_call)(void *ctx, void *map, u32 index) = (void *)12;
#endif

PROGRAM int empty(struct xdp_md *ctx)
{
	return 2;
}

PROGRAM int alu(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx);
	if (p + 8 > END(ctx)) return 0;
	u64 x = *(u64 *)p | 1, sum = 0;
	for (u32 i = 0; i < 1000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sum += (u32)x * 31;
	}
	return sum & 0x7fffffff;
}

PROGRAM int checksum(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	u64 sum = 0;
	if (p + 1024 > end) return 0;
	for (u32 i = 0; i < 1024; i += 2)
		sum += *(u16 *)(p + i);
	sum = (sum >> 16) + (sum & 0xffff);
	sum += sum >> 16;
	return (u16)~sum;
}

PROGRAM int checksum_checked(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	u64 sum = 0;
	for (u32 i = 0; i < 512; i++) {
		if (p + 2 > end) break;
		sum += *(u16 *)p;
		p += 2;
	}
	sum = (sum >> 16) + (sum & 0xffff);
	sum += sum >> 16;
	return (u16)~sum;
}

PROGRAM int copy(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	if (p + 1024 > end) return 0;
	for (u32 i = 0; i < 512; i += 4)
		*(u32 *)(p + 512 + i) = *(u32 *)(p + i) ^ 0x5a5a5a5a;
	return 2;
}

PROGRAM int parse(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	u32 found = 0;
	for (u32 n = 0; n < 256; n++) { /* more than one way over the packet: the empty program's noise is small beside it */
		if (n % 16 == 0) p = (u8 *)DATA(ctx) + n / 64 * 60;
		if (p + 54 > end) return 0;
		if (*(u16 *)(p + 12) != 0x0008 || p[23] != 6) return 1;
		if (*(u16 *)(p + 20) & 0xff1f) return 1;
		u8 *t = p + 14 + (p[14] & 15) * 4;
		if (t + 20 > end) return 0;
		if (*(u16 *)(t + 2) == 0x5000) found++;
		p += 60;
	}
	return found;
}

PROGRAM int scan(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	u32 state = 0, hits = 0;
	if (p + 1024 > end) return 0;
	for (u32 i = 0; i < 1024; i++) {
		u8 c = p[i];
		if (c == '\r') state = 1;
		else if (c == '\n') { hits += state; state = 0; }
		else if (c >= 'a' && c <= 'z') hits += 2;
		else state = 0;
	}
	return hits;
}

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define ROUND                                                        \
	do {                                                         \
		v0 += v1; v1 = ROTL(v1, 13); v1 ^= v0; v0 = ROTL(v0, 32); \
		v2 += v3; v3 = ROTL(v3, 16); v3 ^= v2;               \
		v0 += v3; v3 = ROTL(v3, 21); v3 ^= v0;               \
		v2 += v1; v1 = ROTL(v1, 17); v1 ^= v2; v2 = ROTL(v2, 32); \
	} while (0)

PROGRAM int siphash(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	if (p + 512 > end) return 0;
	u64 v0 = 0x736f6d6570736575, v1 = 0x646f72616e646f6d, v2 = 0x6c7967656e657261, v3 = 0x7465646279746573;
	for (u32 i = 0; i < 512; i += 8) {
		u64 m = *(u64 *)(p + i);
		v3 ^= m;
		ROUND;
		ROUND;
		v0 ^= m;
	}
	v2 ^= 0xff;
	ROUND; ROUND; ROUND; ROUND;
	return (v0 ^ v1 ^ v2 ^ v3) & 0x7fffffff;
}

#define ROL32(x, b) (((x) << (b)) | ((x) >> (32 - (b))))
PROGRAM int jhash(struct xdp_md *ctx)
{
	u8 *p = DATA(ctx), *end = END(ctx);
	if (p + 768 > end) return 0;
	u32 a = 0xdeadbeef, b = a, c = a;
	for (u32 i = 0; i < 768; i += 12) {
		a += *(u32 *)(p + i);
		b += *(u32 *)(p + i + 4);
		c += *(u32 *)(p + i + 8);
		a -= c; a ^= ROL32(c, 4); c += b;
		b -= a; b ^= ROL32(a, 6); a += c;
		c -= b; c ^= ROL32(b, 8); b += a;
		a -= c; a ^= ROL32(c, 16); c += b;
		b -= a; b ^= ROL32(a, 19); a += c;
		c -= b; c ^= ROL32(b, 4); b += a;
	}
	return c & 0x7fffffff;
}

static __attribute__((noinline)) u64 leaf(u64 a, u64 b)
{
	return (a ^ (b << 3)) * 0x9e3779b97f4a7c15;
}

static __attribute__((noinline)) u64 middle(u64 a, u64 b)
{
	u64 x = leaf(a, b);
	return leaf(x, b) + leaf(b, x);
}

PROGRAM int calls(struct xdp_md *ctx)
{
	u64 x = 1;
	for (u32 i = 0; i < 200; i++)
		x = middle(x, i);
	return x & 0x7fffffff;
}

#ifndef NATIVE
struct { __uint(type, 1); __uint(max_entries, 1024); __type(key, u32); __type(value, u64); } hash MAP;
struct { __uint(type, 1); __uint(max_entries, 1024); __type(key, u32); __type(value, u64); } churn MAP;
struct { __uint(type, 2); __uint(max_entries, 256); __type(key, u32); __type(value, u64); } array MAP;
struct { __uint(type, 9); __uint(max_entries, 1024); __type(key, u32); __type(value, u64); } lru MAP;
struct lpm_key { u32 length, address; };
struct {
	__uint(type, 11); __uint(max_entries, 1024); __uint(map_flags, 1); __type(key, struct lpm_key); __type(value, u64);
} lpm MAP;

PROGRAM int hash_lookup(struct xdp_md *ctx)
{
	u64 sum = 0;
	for (u32 i = 0; i < 64; i++) {
		u32 key = i;
		u64 *v = map_lookup(&hash, &key);
		if (v) sum += *v;
	}
	return sum & 0x7fffffff;
}

PROGRAM int hash_update(struct xdp_md *ctx)
{
	for (u32 i = 0; i < 32; i++) {
		u32 key = i;
		u64 value = i;
		map_update(&churn, &key, &value, 0);
		map_delete(&churn, &key);
	}
	return 2;
}

PROGRAM int array_lookup(struct xdp_md *ctx)
{
	u64 sum = 0;
	for (u32 i = 0; i < 256; i++) {
		u32 key = i;
		u64 *v = map_lookup(&array, &key);
		if (v) sum += ++*v;
	}
	return sum & 0x7fffffff;
}

PROGRAM int lpm_lookup(struct xdp_md *ctx)
{
	u64 sum = 0;
	for (u32 i = 0; i < 32; i++) {
		struct lpm_key key = {32, i * 0x01010101};
		u64 *v = map_lookup(&lpm, &key);
		if (v) sum += *v;
	}
	return sum & 0x7fffffff;
}

PROGRAM int lru_update(struct xdp_md *ctx)
{
	for (u32 i = 0; i < 32; i++) {
		u32 key = i * 7;
		u64 value = i;
		map_update(&lru, &key, &value, 0);
	}
	return 2;
}

int tail_jump(struct xdp_md *ctx);
struct {
	__uint(type, 3); __uint(max_entries, 1); __uint(key_size, 4); __uint(value_size, 4);
	int (*values[])(struct xdp_md *);
} jumps MAP = {.values = {[0] = tail_jump}};

PROGRAM int tail_jump(struct xdp_md *ctx)
{
	tail_call(ctx, &jumps, 0);
	return 2;
}
#else
typedef int (*program)(struct xdp_md *);
/* Calls a program n times; volatile keeps the compiler from seeing which. */
u64 repeat(program what, struct xdp_md *ctx, u64 n)
{
	program volatile p = what;
	u64 last = 0;
	for (u64 i = 0; i < n; i++)
		last = (u32)p(ctx);
	return last;
}
#endif
#ifndef NATIVE
char _license[] __attribute__((section("license"), used)) = "GPL";
#endif
