/* What both files of the link cases share; no header of the system is needed. */
#define SEC(name) __attribute__((section(name), used))
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
typedef unsigned int u32;
typedef unsigned long long u64;
struct point { int x, y; };
struct counts { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); };
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
