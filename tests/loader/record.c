// SPDX-License-Identifier: BSD-2-Clause
/* Loads every program of an object with libbpf and writes down what libbpf hands to bpf(2).
 *
 *     record OBJECT [FUNCTION] > LOG
 *
 * This program defines syscall() itself, so libbpf's calls come here. Maps, BTF and feature probes really go to the
 * kernel; the object's own programs do not: a harmless program's descriptor is returned, so that what this kernel would
 * refuse is recorded as well. Each program is loaded alone, from an object opened anew; one that libbpf cannot find the
 * kernel function for is loaded again, to be attached to FUNCTION.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <linux/bpf.h>
#include <bpf/libbpf.h>

static long (*real)(long, ...);
static const char *wanted; /* the program that is being loaded; NULL: only probes */
static int harmless = -1;
static int shown; /* programs since the last load began */

static void hex(const char *key, const void *data, size_t size)
{
	const unsigned char *at = data;

	printf(" %s=", key);
	for (size_t i = 0; data && i < size; i++)
		printf("%02x", at[i]);
}

static void show_map(const union bpf_attr *a, long fd)
{
	printf("map fd=%ld type=%u key=%u value=%u entries=%u flags=%u inner=%d extra=%llu btf=%d ktype=%u vtype=%u", fd,
	       a->map_type, a->key_size, a->value_size, a->max_entries, a->map_flags, (int)a->inner_map_fd,
	       (unsigned long long)a->map_extra, (int)a->btf_fd, a->btf_key_type_id, a->btf_value_type_id);
	hex("name", a->map_name, strnlen(a->map_name, sizeof(a->map_name)));
	printf("\n");
}

static void show_prog(const union bpf_attr *a)
{
	printf("prog type=%u attach=%u flags=%u target=%u version=%u btf=%d", a->prog_type, a->expected_attach_type,
	       a->prog_flags, a->attach_btf_id, a->kern_version, (int)a->prog_btf_fd);
	hex("name", a->prog_name, strnlen(a->prog_name, sizeof(a->prog_name)));
	hex("license", (void *)(long)a->license, strlen((char *)(long)a->license));
	hex("insns", (void *)(long)a->insns, (size_t)a->insn_cnt * 8);
	hex("funcs", (void *)(long)a->func_info, (size_t)a->func_info_cnt * a->func_info_rec_size);
	hex("lines", (void *)(long)a->line_info, (size_t)a->line_info_cnt * a->line_info_rec_size);
	printf("\n");
}

long syscall(long number, ...)
{
	long a[6], result;
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (!real)
		real = dlsym(RTLD_NEXT, "syscall");
	if (number == __NR_bpf) {
		const union bpf_attr *attr = (void *)a[1];

		if (a[0] == BPF_PROG_LOAD && wanted && !strncmp(attr->prog_name, wanted, BPF_OBJ_NAME_LEN - 1) &&
		    attr->prog_name[0]) {
			show_prog(attr);
			shown++;
			return dup(harmless);
		}
		result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (a[0] == BPF_MAP_CREATE && result >= 0) {
			int kept = errno;

			show_map(attr, result);
			errno = kept;
		}
		if (a[0] == BPF_BTF_LOAD && result >= 0) {
			printf("btf fd=%ld", result);
			hex("data", (void *)(long)attr->btf, attr->btf_size);
			printf("\n");
		}
		return result;
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* target: a kernel function to attach to instead of the program's own, or NULL */
static int load_one(const char *path, const char *name, const char *target)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct bpf_object *obj = bpf_object__open_file(path, &options);
	struct bpf_program *prog;
	struct bpf_map *map;
	int err;

	if (!obj)
		return 0;
	bpf_object__for_each_program(prog, obj) {
		bool it = !strcmp(bpf_program__name(prog), name);

		bpf_program__set_autoload(prog, it);
		if (it && target && bpf_program__set_attach_target(prog, 0, target)) {
			bpf_object__close(obj);
			return 0;
		}
	}
	bpf_object__for_each_map(map, obj) {
		bpf_map__set_pin_path(map, NULL);
		/* Tools size these when they start. */
		if (!bpf_map__max_entries(map) && bpf_map__type(map) != BPF_MAP_TYPE_PERF_EVENT_ARRAY)
			bpf_map__set_max_entries(map, bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF ? 4096 : 1);
	}
	printf("begin %s\n", name);
	wanted = name;
	shown = 0;
	err = bpf_object__load(obj);
	wanted = NULL;
	printf("end %d\n", err);
	bpf_object__close(obj);
	return shown;
}

int main(int argc, char **argv)
{
	struct bpf_insn insns[] = { { .code = 0xb7 }, { .code = 0x95 } };
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2, .insns = (long)insns,
				.license = (long)"GPL" };
	struct bpf_object *obj;
	struct bpf_program *prog;
	char *names[512];
	int count = 0;

	if (argc < 2 || argc > 3)
		return 2;
	libbpf_set_print(quiet);
	harmless = syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (harmless < 0)
		return 3;
	obj = bpf_object__open_file(argv[1], NULL);
	if (!obj) {
		printf("refused %d\n", errno);
		return 0;
	}
	bpf_object__for_each_program(prog, obj)
		if (count < 512)
			names[count++] = strdup(bpf_program__name(prog));
	bpf_object__close(obj);
	for (int i = 0; i < count; i++)
		if (!load_one(argv[1], names[i], NULL) && argc == 3)
			load_one(argv[1], names[i], argv[2]);
	return 0;
}
