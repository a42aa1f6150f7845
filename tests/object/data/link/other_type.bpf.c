#include "common.h"
extern long total;
long *where(void) { return &total; }
