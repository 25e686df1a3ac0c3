/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two nodes: each verb takes two paths, the same file or folder as two mounts show it (or one path
 * twice: then it tells what two processes of one node see). Calls that take turns come from one
 * process, so that nothing but the file system is between them; what happens at once comes from a
 * process on each mount.
 */
#include "tests/bench/files/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODES	     2u
#define NAME_BYTES   4352
#define LOCKS	     (NODES + 1)	/* of ping_pong: one more than processes */
#define RECORD_BYTES 128

struct pair {
	const char *paths[NODES];
	uint64_t each;			/* calls by each of the two */
};

static struct latencies looks, creates, unlinks;

static struct pair pair_of(const struct arguments *a)
{
	return (struct pair){ .paths = { files_text(a, 0), files_text(a, 1) },
			      .each = files_number(a, 2) / NODES };
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		files_die("open", path);
	return fd;
}

static void run_both(struct pair *p, void (*prepare)(void *arg, unsigned index),
		     void (*run)(void *arg, unsigned index))
{
	files_together(&(struct together){ prepare, run, p, NODES });
}

/* --- locks ------------------------------------------------------------------------------------ */

static void set_lock(int fd, short type, off_t at)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	if (fcntl(fd, F_SETLKW, &lock) != 0)
		files_die("lock", "a byte");
}

/* Pairs of lock and unlock that nobody is in the way of. */
uint64_t nodes_lock(const struct arguments *a)
{
	uint64_t count = files_number(a, 1);
	int is_flock = strcmp(files_text(a, 2), "flock") == 0;
	int fd = open_or_die(files_text(a, 0), O_RDWR | O_CREAT);
	int other = a->count > 3 ? open_or_die(files_text(a, 3), O_RDWR) : -1;

	files_begin();
	for (uint64_t i = 0; i < count; i++) {
		if (!is_flock) {
			set_lock(fd, F_WRLCK, 0);
			set_lock(fd, F_UNLCK, 0);
		} else if (flock(fd, LOCK_EX) != 0 || flock(fd, LOCK_UN) != 0) {
			files_die("lock", files_text(a, 0));
		}
	}
	close(fd);
	if (other >= 0)
		close(other);
	return count;
}

static int own_fd;		/* of this process, which files_together() forked */

static void hold_first(void *arg, unsigned index)
{
	const struct pair *p = arg;

	own_fd = open_or_die(p->paths[index], O_RDWR);
	set_lock(own_fd, F_WRLCK, (off_t)index);
}

/* The walk of ctdb's ping_pong: the next lock is free when the other has walked on from it. */
static void walk(void *arg, unsigned index)
{
	const struct pair *p = arg;

	for (uint64_t i = index; i < index + p->each; i++) {
		set_lock(own_fd, F_WRLCK, (off_t)((i + 1) % LOCKS));
		set_lock(own_fd, F_UNLCK, (off_t)(i % LOCKS));
	}
	close(own_fd);
}

uint64_t nodes_ping_pong(const struct arguments *a)
{
	struct pair p = pair_of(a);

	close(open_or_die(p.paths[0], O_RDWR | O_CREAT));
	run_both(&p, hold_first, walk);
	return NODES * p.each;
}

/* --- what one knows or holds, the other changes or wants to know ------------------------------ */

static void name_in(const char *dir, uint64_t index, char out[NAME_BYTES])
{
	snprintf(out, NAME_BYTES, "%.4096s/name-%llu", dir, (unsigned long long)index);
}

static uint64_t size_by_stat(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		files_die("stat", path);
	return (uint64_t)st.st_size;
}

static uint64_t size_by_read(const char *path)
{
	static char bytes[PAGE_BYTES];
	int fd = open_or_die(path, O_RDONLY);
	uint64_t size = 0;
	ssize_t n;

	while ((n = read(fd, bytes, sizeof bytes)) > 0)
		size += (uint64_t)n;
	if (n < 0 || close(fd) != 0)
		files_die("read", path);
	return size;
}

/*
 * One writes a page into a new file and keeps it open, its lease held and nothing sent; the other
 * looks, and only that is timed. A file of its own each time: who is looked at again and again is
 * prepared for it.
 */
uint64_t nodes_look(const struct arguments *a)
{
	char name[NAME_BYTES], other[NAME_BYTES];
	uint64_t count = files_number(a, 2);
	int does_read = strcmp(files_text(a, 3), "read") == 0;
	uint8_t *page = files_noise(PAGE_BYTES, 0);

	latencies_init(&looks, count);
	files_begin();
	for (uint64_t i = 0; i < count; i++) {
		double began;
		uint64_t size;
		int fd;

		name_in(files_text(a, 0), i, name);
		name_in(files_text(a, 1), i, other);
		files_mark(page, PAGE_BYTES, i);
		fd = open_or_die(name, O_WRONLY | O_CREAT | O_EXCL);
		files_write(fd, page, PAGE_BYTES, name);
		began = files_seconds();
		size = does_read ? size_by_read(other) : size_by_stat(other);
		latencies_add(&looks, files_seconds() - began);
		errno = ESTALE;
		if (size != PAGE_BYTES)
			files_die("see all of", other);
		close(fd);
	}
	free(page);
	return count;
}

void nodes_print_looks(void)
{
	latencies_print(&looks, "look");
}

static void expect_name(const char *name, int is_there)
{
	struct stat st;
	int rc = stat(name, &st);

	if (rc != 0 && errno == ENOENT && !is_there)
		return;
	if (rc == 0 && !is_there)
		errno = EEXIST;
	if (rc != 0 || !is_there)
		files_die("see what became of", name);
}

/* One has looked at a name, absent and then present; the other makes and removes it, timed. */
uint64_t nodes_names(const struct arguments *a)
{
	char name[NAME_BYTES], known[NAME_BYTES];
	uint64_t count = files_number(a, 2);

	latencies_init(&creates, count);
	latencies_init(&unlinks, count);
	files_begin();
	for (uint64_t i = 0; i < count; i++) {
		double began;
		int fd;

		name_in(files_text(a, 0), i, known);
		name_in(files_text(a, 1), i, name);
		expect_name(known, 0);
		began = files_seconds();
		fd = open_or_die(name, O_WRONLY | O_CREAT | O_EXCL);
		latencies_add(&creates, files_seconds() - began);
		close(fd);
		expect_name(known, 1);
		began = files_seconds();
		if (unlink(name) != 0)
			files_die("remove", name);
		latencies_add(&unlinks, files_seconds() - began);
		expect_name(known, 0);
	}
	return count;
}

void nodes_print_names(void)
{
	latencies_print(&creates, "create");
	latencies_print(&unlinks, "unlink");
}

/* --- both make files, or append --------------------------------------------------------------- */

static void make_one(const struct pair *p, unsigned node, uint64_t index)
{
	char name[NAME_BYTES];

	snprintf(name, sizeof name, "%.4096s/node-%u-%012llu.bin", p->paths[node], node,
		 (unsigned long long)index);
	names_make(name, NODES * index + node);
}

uint64_t nodes_create_in_turn(const struct arguments *a)
{
	struct pair p = pair_of(a);

	files_begin();
	for (uint64_t i = 0; i < NODES * p.each; i++)
		make_one(&p, i % NODES, i / NODES);
	return NODES * p.each;
}

static void make_all(void *arg, unsigned index)
{
	const struct pair *p = arg;

	for (uint64_t i = 0; i < p->each; i++)
		make_one(p, index, i);
}

uint64_t nodes_create(const struct arguments *a)
{
	struct pair p = pair_of(a);

	run_both(&p, NULL, make_all);
	return NODES * p.each;
}

static void open_to_append(void *arg, unsigned index)
{
	const struct pair *p = arg;

	own_fd = open_or_die(p->paths[index], O_WRONLY | O_APPEND);
}

static void append_all(void *arg, unsigned index)
{
	const struct pair *p = arg;
	char record[RECORD_BYTES];

	memset(record, (int)('a' + index), sizeof record);
	for (uint64_t i = 0; i < p->each; i++)
		if (write(own_fd, record, sizeof record) != (ssize_t)sizeof record)
			files_die("append to", p->paths[index]);
	if (close(own_fd) != 0)
		files_die("close", p->paths[index]);
}

uint64_t nodes_append(const struct arguments *a)
{
	struct pair p = pair_of(a);

	close(open_or_die(p.paths[0], O_WRONLY | O_CREAT | O_TRUNC));
	run_both(&p, open_to_append, append_all);
	errno = ESTALE;
	if (size_by_stat(p.paths[0]) != NODES * p.each * RECORD_BYTES)
		files_die("see all records of", p.paths[0]);
	return NODES * p.each;
}
