#include "common.h"
struct { __uint(type, 2); __uint(max_entries, 8); __type(key, u32); __type(value, u64); } extern counts SEC(".maps");
void *map(void) { return &counts; }
