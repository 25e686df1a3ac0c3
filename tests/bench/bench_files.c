/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file-system measurement, from a process as lean as a user's loop: prints "COUNT SECONDS"
 * (bytes, files or entries, and the time they took) on one line. tests/bench/run calls it on cairn
 * and on ext4 in turn.
 *
 *   bench_files write FILE MIB [fsync]   sequential 1 MiB writes, then close
 *   bench_files read FILE                1 MiB reads to the end
 *   bench_files mmap FILE                touch every page in order through a mapping
 *   bench_files random FILE COUNT        4 KiB reads at seeded random places
 *   bench_files list DIR                 readdir and stat of all entries, as ls -l
 *
 * Of COUNT small files, in all, by PROCESSES side by side (1), each in a folder of its own if there
 * are several:
 *
 *   bench_files create DIR COUNT [PROCESSES]     create, write 4 KiB, close
 *   bench_files stat DIR COUNT [PROCESSES]       stat those files
 *   bench_files get DIR COUNT [PROCESSES]        open, read, close
 *   bench_files rename DIR COUNT [PROCESSES]     give each another name, and back
 *   bench_files unlink DIR COUNT [PROCESSES]     remove them
 *   bench_files mkdir DIR COUNT [PROCESSES]      make folders
 *   bench_files rmdir DIR COUNT [PROCESSES]      remove them
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024)
#define NAME_BYTES 4224

static void die(const char *what, const char *path)
{
	fprintf(stderr, "bench_files: cannot %s '%s': %s\n", what, path, strerror(errno));
	exit(1);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t xorshift(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/*
 * Bytes that no codec shrinks; each 4 KiB then gets its place, so that no two blocks are equal.
 * Other ones in each run: what a store has already it need not store again, and would look fast.
 */
static uint8_t *noise(size_t len)
{
	uint64_t state = (uint64_t)(seconds() * 1e9) | 1;
	uint8_t *bytes = aligned_alloc(4096, len);

	if (!bytes)
		die("allocate", "a buffer");
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = xorshift(&state);

		memcpy(bytes + i, &word, 8);
	}
	return bytes;
}

static void mark_places(uint8_t *bytes, size_t len, uint64_t base)
{
	for (size_t i = 0; i < len; i += 4096) {
		uint64_t place = base + i;

		memcpy(bytes + i, &place, sizeof place);
	}
}

static uint64_t bench_write(const char *path, uint64_t mib, int with_fsync)
{
	uint8_t *bytes = noise(MIB);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0)
		die("create", path);
	for (uint64_t i = 0; i < mib; i++) {
		mark_places(bytes, MIB, i * MIB);
		if (write(fd, bytes, MIB) != MIB)
			die("write", path);
	}
	if ((with_fsync && fsync(fd) != 0) || close(fd) != 0)
		die("sync", path);
	free(bytes);
	return mib * MIB;
}

static uint64_t bench_read(const char *path)
{
	uint8_t *bytes = aligned_alloc(4096, MIB);
	int fd = open(path, O_RDONLY);
	uint64_t total = 0;
	ssize_t n;

	if (fd < 0 || !bytes)
		die("open", path);
	while ((n = read(fd, bytes, MIB)) > 0)
		total += (uint64_t)n;
	if (n < 0)
		die("read", path);
	close(fd);
	free(bytes);
	return total;
}

static uint64_t bench_mmap(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	volatile uint64_t sum = 0;
	uint8_t *map;

	if (fd < 0 || fstat(fd, &st) != 0)
		die("open", path);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("map", path);
	for (off_t i = 0; i < st.st_size; i += 4096)
		sum += map[i];
	munmap(map, (size_t)st.st_size);
	close(fd);
	return (uint64_t)st.st_size;
}

static uint64_t bench_random(const char *path, uint64_t count)
{
	uint64_t state = 0x9e3779b97f4a7c15u;
	uint8_t bytes[4096];
	int fd = open(path, O_RDONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		die("open", path);
	for (uint64_t i = 0; i < count; i++) {
		off_t place = (off_t)(xorshift(&state) % ((uint64_t)st.st_size / 4096)) * 4096;

		if (pread(fd, bytes, sizeof bytes, place) != sizeof bytes)
			die("read", path);
	}
	close(fd);
	return count;
}

static uint64_t bench_list(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;
	uint64_t count = 0;

	if (!d)
		die("open", dir);
	while ((e = readdir(d))) {
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			die("stat", e->d_name);
		count++;
	}
	closedir(d);
	return count;
}

/* --- small files ------------------------------------------------------------------------------ */

static void name_of(const char *dir, const char *kind, uint64_t i, char out[NAME_BYTES])
{
	snprintf(out, NAME_BYTES, "%.4096s/%s-%012llu.bin", dir, kind, (unsigned long long)i);
}

static void small_create(const char *name)
{
	static uint8_t *bytes;
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (!bytes)
		bytes = noise(4096);
	if (fd < 0 || write(fd, bytes, 4096) != 4096 || close(fd) != 0)
		die("create", name);
}

static void small_stat(const char *name)
{
	struct stat st;

	if (stat(name, &st) != 0)
		die("stat", name);
}

static void small_get(const char *name)
{
	uint8_t bytes[8192];
	int fd = open(name, O_RDONLY);

	if (fd < 0 || read(fd, bytes, sizeof bytes) != 4096 || close(fd) != 0)
		die("read", name);
}

static void small_rename(const char *name)
{
	char other[NAME_BYTES + 8];

	snprintf(other, sizeof other, "%s.moved", name);
	if (rename(name, other) != 0 || rename(other, name) != 0)
		die("rename", name);
}

static void small_unlink(const char *name)
{
	if (unlink(name) != 0)
		die("remove", name);
}

static void small_mkdir(const char *name)
{
	if (mkdir(name, 0755) != 0)
		die("make", name);
}

static void small_rmdir(const char *name)
{
	if (rmdir(name) != 0)
		die("remove", name);
}

static const struct small {
	const char *what, *kind;
	void (*run)(const char *name);
	unsigned calls;			/* that count, per name */
} smalls[] = {
	{ "create", "file", small_create, 1 }, { "stat", "file", small_stat, 1 },
	{ "get", "file", small_get, 1 },       { "rename", "file", small_rename, 2 },
	{ "unlink", "file", small_unlink, 1 }, { "mkdir", "folder", small_mkdir, 1 },
	{ "rmdir", "folder", small_rmdir, 1 },
};

static void small_run(const struct small *s, const char *dir, uint64_t count)
{
	char name[NAME_BYTES];

	for (uint64_t i = 0; i < count; i++) {
		name_of(dir, s->kind, i, name);
		s->run(name);
	}
}

/* All begin together: each waits until the pipe that `start` writes to is closed. */
static pid_t small_fork(const struct small *s, const char *dir, uint64_t count, const int start[2])
{
	pid_t pid = fork();
	char byte;

	if (pid < 0)
		die("fork for", dir);
	if (pid > 0)
		return pid;
	close(start[1]);
	if (read(start[0], &byte, 1) != 0)
		_exit(1);
	small_run(s, dir, count);
	_exit(0);
}

/* *began is when they were let go. */
static uint64_t bench_small(const struct small *s, const char *dir, uint64_t count,
			    unsigned processes, double *began)
{
	uint64_t each = count / processes;
	int start[2], status, failed = 0;

	if (processes == 1) {
		small_run(s, dir, count);
		return s->calls * count;
	}
	if (pipe(start) != 0)
		die("make a pipe for", dir);
	for (unsigned i = 0; i < processes; i++) {
		char own[NAME_BYTES];

		snprintf(own, sizeof own, "%s/process-%u", dir, i);
		if (mkdir(own, 0755) != 0 && errno != EEXIST)
			die("make", own);
		small_fork(s, own, each, start);
	}
	*began = seconds();
	close(start[1]);
	close(start[0]);
	while (wait(&status) > 0)
		failed |= status;
	if (failed)
		exit(1);
	return s->calls * each * processes;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
	uint64_t n = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, done = 0;
	unsigned processes = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 1;
	double start = seconds();

	if (strcmp(what, "write") == 0 && n)
		done = bench_write(path, n, argc > 4);
	else if (strcmp(what, "read") == 0)
		done = bench_read(path);
	else if (strcmp(what, "mmap") == 0)
		done = bench_mmap(path);
	else if (strcmp(what, "random") == 0 && n)
		done = bench_random(path, n);
	else if (strcmp(what, "list") == 0)
		done = bench_list(path);
	for (size_t i = 0; i < sizeof smalls / sizeof smalls[0]; i++)
		if (strcmp(what, smalls[i].what) == 0 && n && processes)
			done = bench_small(&smalls[i], path, n, processes, &start);
	if (done == 0) {
		fprintf(stderr, "usage: bench_files write|read|mmap|random|list|create|stat|get|"
				"rename|unlink|mkdir|rmdir PATH [COUNT [PROCESSES]]\n");
		return 2;
	}
	printf("%llu %.6f\n", (unsigned long long)done, seconds() - start);
	return 0;
}
