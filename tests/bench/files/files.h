/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_files: one file-system measurement from a process as lean as a user's loop. A verb
 * (main.c) does its work and returns how many bytes, files or calls it came to; main prints that
 * and the seconds since files_begin(). Nothing here goes through cairn's own code: the same
 * program measures any mounted file system.
 *
 * Contents are noise that no codec shrinks, other noise in each run unless seeded: what a store
 * has already it need not store again, and would look fast.
 */
#ifndef CAIRN_TESTS_BENCH_FILES_H
#define CAIRN_TESTS_BENCH_FILES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CALL_BYTES ((size_t)1024 * 1024) /* of a sequential call */
#define PAGE_BYTES ((size_t)4096)	 /* of a random one, and of a small file */

/* What stands behind the verb on the command line. */
struct arguments {
	char **texts;
	int count;
};

/* The argument, or the end of the program with a usage error. */
const char *files_text(const struct arguments *a, int index);
uint64_t files_number(const struct arguments *a, int index);
uint64_t files_number_or(const struct arguments *a, int index, uint64_t otherwise);

/* Time is taken from here on (else from the start of the program), and so far. */
void files_begin(void);
double files_seconds(void);
/* Say `cannot WHAT 'PATH': ...` and end. */
_Noreturn void files_die(const char *what, const char *path);
/* All of it: what is written short says why with the rest. */
void files_write(int fd, const void *bytes, size_t len, const char *path);

uint64_t files_random(uint64_t *state); /* xorshift; the state is never 0 */
/* Noise of `len` bytes, aligned for pages; seed 0: another one each time. Never NULL. */
uint8_t *files_noise(size_t len, uint64_t seed);
/* Give each page of it its place, so that no two pages of a file (or of two files) are equal. */
void files_mark(uint8_t *bytes, size_t len, uint64_t place);

/* Seconds of single calls, in the order they came; print as " WHAT_p50_us=... WHAT_p99_us=...". */
struct latencies {
	double *seconds;
	size_t count;
};

void latencies_init(struct latencies *l, size_t count_max);
void latencies_add(struct latencies *l, double seconds);
void latencies_print(struct latencies *l, const char *what);	/* and free them */

/*
 * `count` processes: each prepares itself, time is taken from when all have, then each runs. One
 * that fails ends the program.
 */
struct together {
	void (*prepare)(void *arg, unsigned index);	/* NULL: nothing to prepare */
	void (*run)(void *arg, unsigned index);
	void *arg;
	unsigned count;
};

void files_together(const struct together *t);

/* Create, write a page that no other `index` has, close. */
void names_make(const char *name, uint64_t index);

/* The verbs; arguments as main.c lists them. */
uint64_t data_write(const struct arguments *a);
uint64_t data_copy(const struct arguments *a);
uint64_t data_read(const struct arguments *a);
uint64_t data_mmap(const struct arguments *a);
uint64_t data_random(const struct arguments *a);
uint64_t data_overwrite(const struct arguments *a);
uint64_t data_append(const struct arguments *a);
uint64_t names_list(const struct arguments *a);
uint64_t names_create(const struct arguments *a);
uint64_t names_stat(const struct arguments *a);
uint64_t names_get(const struct arguments *a);
uint64_t names_rename(const struct arguments *a);
uint64_t names_unlink(const struct arguments *a);
uint64_t names_mkdir(const struct arguments *a);
uint64_t names_rmdir(const struct arguments *a);
uint64_t nodes_lock(const struct arguments *a);
uint64_t nodes_ping_pong(const struct arguments *a);
uint64_t nodes_look(const struct arguments *a);
uint64_t nodes_names(const struct arguments *a);
uint64_t nodes_create_in_turn(const struct arguments *a);
uint64_t nodes_create(const struct arguments *a);
uint64_t nodes_append(const struct arguments *a);
uint64_t swap_models(const struct arguments *a);
/* The latencies of the last such verb, behind its count and seconds. */
void nodes_print_looks(void);
void nodes_print_names(void);
void swap_print(void);

#endif
