#include "common.h"
int total = 6;
