/* What these test programs need of the usual headers. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __noinline __attribute__((noinline))
#define __weak __attribute__((weak))
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define CORE __attribute__((preserve_access_index))
#define exists(field) __builtin_preserve_field_info(field, 2)
#define type_exists(type) __builtin_preserve_type_info(*(typeof(type) *)0, 0)
static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static u64 (*const ktime_get_ns)(void) = (void *)5;
static long (*const tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static u64 (*const get_current_pid_tgid)(void) = (void *)14;
static u64 (*const ktime_get_boot_ns)(void) = (void *)125;
static u64 (*const ktime_get_tai_ns)(void) = (void *)208;
static long (*const loop)(u32 nr, void *fn, void *ctx, u64 flags) = (void *)181;
static long (*const copy_from_user)(void *to, u32 size, const void *from) = (void *)148;
static long (*const probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
char _license[] SEC("license") = "GPL";
