#include "common.h"
char LICENSE[] SEC("license") = "Dual BSD/GPL";
