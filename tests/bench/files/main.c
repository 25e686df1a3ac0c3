/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of bench_files: `bench_files VERB PATH [ARGUMENTS]` prints "COUNT SECONDS" on
 * one line, and for `swap` latencies as NAME=VALUE behind it.
 */
#include "tests/bench/files/files.h"

#include <stdio.h>
#include <string.h>

static const struct verb {
	const char *name, *arguments, *what;
	uint64_t (*run)(const struct arguments *a);
	void (*print_more)(void);
} verbs[] = {
	{"write", "FILE MIB [fsync [SEED]]", "1 MiB writes; equal seeds are equal contents",
	 data_write, NULL},
	{"copy", "SOURCE FILE MIB SEED",
	 "write what SOURCE holds, again and again, a mark of SEED in each block; fsync",
	 data_copy, NULL},
	{"read", "FILE", "1 MiB reads to the end", data_read, NULL},
	{"mmap", "FILE...", "map all, touch every page in order", data_mmap, NULL},
	{"random", "FILE COUNT [THREADS]", "4 KiB reads at seeded random places", data_random,
	 NULL},
	{"overwrite", "FILE COUNT", "4 KiB writes at seeded random places, then fsync",
	 data_overwrite, NULL},
	{"append", "FILE COUNT", "4 KiB writes at the end, then fsync", data_append, NULL},
	{"list", "DIR", "readdir and stat of all entries", names_list, NULL},
	{"create", "DIR COUNT [PROCESSES]",
	 "create, write 4 KiB, close; each of several processes in a folder of its own",
	 names_create, NULL},
	{"stat", "DIR COUNT [PROCESSES]", "stat of those files", names_stat, NULL},
	{"get", "DIR COUNT [PROCESSES]", "open, read, close them", names_get, NULL},
	{"rename", "DIR COUNT [PROCESSES]", "rename them and back", names_rename, NULL},
	{"unlink", "DIR COUNT [PROCESSES]", "remove them", names_unlink, NULL},
	{"mkdir", "DIR COUNT [PROCESSES]", "make folders", names_mkdir, NULL},
	{"rmdir", "DIR COUNT [PROCESSES]", "remove those folders", names_rmdir, NULL},
	{"lock", "FILE COUNT flock|fcntl [FILE]",
	 "lock and unlock; the other FILE is held open", nodes_lock, NULL},
	{"ping-pong", "FILE FILE COUNT", "a lock goes to and fro between two nodes",
	 nodes_ping_pong, NULL},
	{"look", "DIR DIR COUNT stat|read", "one node writes new files, the other looks (timed)",
	 nodes_look, nodes_print_looks},
	{"names", "DIR DIR COUNT", "a node makes and removes (timed) what the other looks at",
	 nodes_names, nodes_print_names},
	{"create-in-turn", "DIR DIR COUNT", "create, write 4 KiB, close: two nodes in turn",
	 nodes_create_in_turn, NULL},
	{"create-both", "DIR DIR COUNT", "the same, both at once", nodes_create, NULL},
	{"append-both", "FILE FILE COUNT", "records of 128 bytes by O_APPEND, both at once",
	 nodes_append, NULL},
	{"swap", "DIR DIR COUNT [drop]",
	 "open all files of one, then of the other, and read the first bytes; drop: with\n"
	 "                 the kernel's caches dropped before each",
	 swap_models, swap_print},
};

static int usage(void)
{
	fprintf(stderr, "usage: bench_files VERB ARGUMENTS\n");
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		fprintf(stderr, "  %-14s %s\n                 %s\n", verbs[i].name,
			verbs[i].arguments, verbs[i].what);
	return 2;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		struct arguments a = { argv + 2, argc - 2 };
		uint64_t count;

		if (strcmp(verbs[i].name, name) != 0)
			continue;
		files_begin();
		count = verbs[i].run(&a);
		printf("%llu %.6f", (unsigned long long)count, files_seconds());
		if (verbs[i].print_more)
			verbs[i].print_more();
		printf("\n");
		return 0;
	}
	return usage();
}
