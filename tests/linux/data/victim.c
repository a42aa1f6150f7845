// A process with USDT points, made without <sys/sdt.h>. Reads lines; each fires the points once.
#include <stdio.h>

unsigned short victim_semaphore __attribute__((section(".probes"), used));

#define POINT(name, semaphore, args, ...)                                                                             \
	__asm__ volatile("990: nop\n"                                                                                  \
			 ".pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n.4byte 992f-991f,994f-993f,3\n"         \
			 "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b,_.stapsdt.base," semaphore "\n"    \
			 ".asciz \"victim\"\n.asciz \"" name "\"\n.asciz \"" args "\"\n994: .balign 4\n.popsection\n"  \
			 ".ifndef _.stapsdt.base\n.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
			 ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n"                    \
			 ".size _.stapsdt.base,1\n.popsection\n.endif\n" ::__VA_ARGS__)

struct pair { int first; signed char second; };
__attribute__((noinline)) void work(int number, struct pair *pair, long *table, long index)
{
	POINT("plain", "0", "-4@%0 8@$7 -4@%1 1@%b2", "r"(number), "m"(pair->first), "r"((unsigned char)number));
	if (victim_semaphore)
		POINT("guarded", "victim_semaphore", "8@%0 -8@$-5", "r"(table[index]));
	POINT("indexed", "0", "8@(%0,%1,8)", "r"(table), "r"(index));
	POINT("plain", "0", "-1@%0", "m"(pair->second));
}

int main(void)
{
	long table[4] = { 11, 22, 33, 44 };
	struct pair pair = { -99, -3 };
	int c;

	puts("ready");
	fflush(stdout);
	while ((c = getchar()) != EOF)
		if (c == '\n') {
			work(-1000, &pair, table, 2);
			puts("done");
			fflush(stdout);
		}
	return 0;
}
