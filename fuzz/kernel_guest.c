/*
 * Loads BPF programs that a file describes and writes what the kernel says of each.
 *
 *     loader IN OUT      as a command; with process id 1 it is the init of a guest: IN is /dev/vda, OUT /dev/vdb,
 *                        unprivileged BPF is allowed, and the machine is switched off at the end
 *
 * IN: records of u32 kind, u32 size and size bytes (little-endian), up to kind 0. OUT: for each record of kind PROG
 * u32 errno, u32 length of the log and the log; then u32 0xffffffff. fuzz/kernel_guest.py writes and reads both.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

enum { END, BTF, MAP, PROG };
enum { ROOT, CAP_BPF_ONLY, NOBODY };
enum { SLOTS = 4096, LOG_SIZE = 4 << 20, NOT_LOADED = 0xfffe, NEVER_OPEN = 0x10000 };

/* Offsets in union bpf_attr (include/uapi/linux/bpf.h). */
enum { MAP_INNER = 20, MAP_BTF_FD = 48, PROG_INSNS = 8, PROG_LICENSE = 16, PROG_LOG_LEVEL = 24, PROG_LOG_SIZE = 28,
       PROG_LOG = 32, PROG_BTF_FD = 72, PROG_FUNC_INFO = 80, PROG_LINE_INFO = 96, ATTR_SIZE = 160 };

struct map {
	uint32_t inner, btf, frozen, fresh, contents_size, attr_size;
	unsigned char attr[ATTR_SIZE];
	unsigned char contents[];
};

struct prog {
	uint32_t user, btf, insns_size, func_info_size, line_info_size, license_size, seconds, log_size, attr_size;
	unsigned char attr[ATTR_SIZE];
	unsigned char data[];
};

static int fds[SLOTS];
static struct map *maps[SLOTS];
static uint32_t slots;
static char log_buffer[LOG_SIZE];

static int bpf(int command, void *attr, unsigned size)
{
	return syscall(SYS_bpf, command, attr, size);
}

static void set32(unsigned char *attr, int at, uint32_t value)
{
	memcpy(attr + at, &value, 4);
}

static void set64(unsigned char *attr, int at, const void *pointer)
{
	uint64_t value = (uintptr_t)pointer;

	memcpy(attr + at, &value, 8);
}

static uint32_t get32(const unsigned char *attr, int at)
{
	uint32_t value;

	memcpy(&value, attr + at, 4);
	return value;
}

static int make_map(struct map *m)
{
	unsigned char attr[ATTR_SIZE], update[32] = {0}, key[8] = {0};
	int fd;

	memcpy(attr, m->attr, ATTR_SIZE);
	if (m->inner != ~0u) {
		if (fds[m->inner] < 0)
			return -1;
		set32(attr, MAP_INNER, fds[m->inner]);
	}
	if (m->btf != ~0u) {
		if (fds[m->btf] < 0)
			return -1;
		set32(attr, MAP_BTF_FD, fds[m->btf]);
	}
	fd = bpf(0, attr, m->attr_size);
	if (fd < 0)
		return fd;
	if (m->contents_size) {
		set32(update, 0, fd);
		set64(update, 8, key);
		set64(update, 16, m->contents);
		bpf(2, update, 32);
	}
	if (m->frozen) {
		memset(update, 0, sizeof(update));
		set32(update, 0, fd);
		bpf(22, update, 4);
	}
	return fd;
}

static void capabilities(uint32_t low, uint32_t high)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	syscall(SYS_capget, &header, data);
	data[0].effective = low & data[0].permitted;
	data[1].effective = high & data[1].permitted;
	if (syscall(SYS_capset, &header, data))
		perror("capset");
}

static void become(uint32_t user)
{
	if (user == CAP_BPF_ONLY)
		capabilities(1u << CAP_NET_ADMIN, 1u << (CAP_BPF - 32));
	else if (user == NOBODY)
		capabilities(0, 0);
	else
		capabilities(~0u, ~0u);
}

static void nothing(int signal)
{
	(void)signal;
}

static int try_load(struct prog *p, unsigned char *attr)
{
	struct itimerval timer = {.it_value = {.tv_sec = p->seconds}};
	const struct itimerval off = {0};
	int fd, error;

	log_buffer[0] = 0;
	become(p->user);
	setitimer(ITIMER_REAL, &timer, 0);
	fd = bpf(5, attr, p->attr_size);
	error = fd < 0 ? errno : 0;
	setitimer(ITIMER_REAL, &off, 0);
	become(ROOT);
	if (fd >= 0)
		close(fd);
	return error;
}

static uint32_t load(struct prog *p)
{
	unsigned char attr[ATTR_SIZE], *code = p->data;
	int error;

	log_buffer[0] = 0;
	memcpy(attr, p->attr, ATTR_SIZE);
	for (uint32_t at = 0; at < p->insns_size; at += 8) {
		uint32_t src = code[at + 1] >> 4, slot;

		if (code[at] != 0x18 || (src != 1 && src != 2))
			continue;
		slot = get32(code, at + 4);
		if (slot >= NEVER_OPEN)
			continue; /* no map at all: the kernel shall say so */
		if (slot >= slots || fds[slot] < 0)
			return NOT_LOADED;
		if (maps[slot] && maps[slot]->fresh) {
			close(fds[slot]);
			fds[slot] = make_map(maps[slot]);
		}
		set32(code, at + 4, fds[slot]);
	}
	if (p->btf != ~0u) {
		if (fds[p->btf] < 0)
			return NOT_LOADED;
		set32(attr, PROG_BTF_FD, fds[p->btf]);
	}
	set64(attr, PROG_INSNS, code);
	if (p->func_info_size)
		set64(attr, PROG_FUNC_INFO, code + p->insns_size);
	if (p->line_info_size)
		set64(attr, PROG_LINE_INFO, code + p->insns_size + p->func_info_size);
	set64(attr, PROG_LICENSE, code + p->insns_size + p->func_info_size + p->line_info_size);
	if (get32(attr, PROG_LOG_LEVEL)) {
		set32(attr, PROG_LOG_SIZE, p->log_size ? p->log_size : LOG_SIZE);
		set64(attr, PROG_LOG, log_buffer);
	}
	error = try_load(p, attr);
	if (error == ENOSPC && !p->log_size) { /* the log was too long: the figures at least */
		set32(attr, PROG_LOG_LEVEL, 4);
		error = try_load(p, attr);
		return error | 0x10000;
	}
	return error;
}

static void *record(FILE *in, uint32_t size)
{
	void *data = calloc(1, size + 1);

	if (!data || fread(data, 1, size, in) != size) {
		fprintf(stderr, "short input\n");
		exit(1);
	}
	return data;
}

static void run(FILE *in, FILE *out)
{
	uint32_t head[2], answer[2], count = 0;

	while (fread(head, 4, 2, in) == 2 && head[0] != END) {
		void *data = record(in, head[1]);
		unsigned char attr[32] = {0};

		if (head[0] == PROG) {
			answer[0] = load(data);
			answer[1] = strlen(log_buffer);
			fwrite(answer, 4, 2, out);
			fwrite(log_buffer, 1, answer[1], out);
			free(data);
			if (++count % 1000 == 0)
				printf("loaded %u\n", count);
			continue;
		}
		if (slots == SLOTS) {
			fprintf(stderr, "too many slots\n");
			exit(1);
		}
		if (head[0] == BTF) {
			set64(attr, 0, data);
			set32(attr, 16, head[1]);
			fds[slots] = bpf(18, attr, 28);
		} else {
			maps[slots] = data;
			fds[slots] = make_map(data);
		}
		if (fds[slots] < 0)
			printf("slot %u: %s\n", slots, strerror(errno));
		slots++;
	}
	answer[0] = ~0u;
	fwrite(answer, 4, 1, out);
	fclose(out);
}

/* The drivers of the disks, in the order in which they need each other. */
static void load_modules(void)
{
	char name[16];
	int fd;

	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "/%d.ko", i);
		fd = open(name, O_RDONLY);
		if (fd < 0)
			return;
		if (syscall(SYS_finit_module, fd, "", 0))
			perror(name);
		close(fd);
	}
}

static void become_init(void)
{
	int fd;

	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	mkdir("/sys", 0755);
	mount("proc", "/proc", "proc", 0, 0);
	mount("dev", "/dev", "devtmpfs", 0, 0);
	mount("sys", "/sys", "sysfs", 0, 0);
	load_modules();
	for (int i = 0; i < 100 && access("/dev/vdb", F_OK); i++)
		usleep(100000);
	fd = open("/proc/sys/kernel/unprivileged_bpf_disabled", O_WRONLY);
	if (fd < 0 || write(fd, "0\n", 2) != 2)
		perror("unprivileged_bpf_disabled");
	close(fd);
}

int main(int count, char **arguments)
{
	int init = getpid() == 1;
	const struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
	const char *from = "/dev/vda", *to = "/dev/vdb";
	FILE *in, *out;

	if (init) {
		become_init();
	} else if (count == 3) {
		from = arguments[1];
		to = arguments[2];
	} else {
		fprintf(stderr, "usage: loader IN OUT\n");
		return 2;
	}
	setvbuf(stdout, 0, _IOLBF, 0);
	setrlimit(RLIMIT_MEMLOCK, &most);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){8192, 8192});
	signal(SIGALRM, nothing);
	in = fopen(from, "rb");
	out = fopen(to, "r+b");
	if (!out)
		out = fopen(to, "wb");
	if (!in || !out) {
		perror("open");
	} else {
		setvbuf(out, 0, _IOFBF, 1 << 20);
		run(in, out);
	}
	if (init) {
		sync();
		printf("done\n");
		reboot(RB_POWER_OFF);
	}
	return 0;
}
