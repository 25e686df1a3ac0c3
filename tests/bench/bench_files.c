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
 *   bench_files create DIR COUNT         create, write 1 KiB, close
 *   bench_files stat DIR COUNT           stat those files
 *   bench_files list DIR                 readdir and stat of all entries, as ls -l
 *   bench_files unlink DIR COUNT         remove those files
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
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024)

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

static const char *file_name(const char *dir, uint64_t i)
{
	static char name[4096];

	snprintf(name, sizeof name, "%s/file-%012llu.bin", dir, (unsigned long long)i);
	return name;
}

static uint64_t bench_create(const char *dir, uint64_t count)
{
	uint8_t *bytes = noise(4096);

	for (uint64_t i = 0; i < count; i++) {
		const char *name = file_name(dir, i);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

		if (fd < 0 || write(fd, bytes, 1024) != 1024 || close(fd) != 0)
			die("create", name);
	}
	free(bytes);
	return count;
}

static uint64_t bench_stat(const char *dir, uint64_t count)
{
	struct stat st;

	for (uint64_t i = 0; i < count; i++)
		if (stat(file_name(dir, i), &st) != 0)
			die("stat", file_name(dir, i));
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

static uint64_t bench_unlink(const char *dir, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (unlink(file_name(dir, i)) != 0)
			die("remove", file_name(dir, i));
	return count;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
	uint64_t n = argc > 3 ? strtoull(argv[3], NULL, 10) : 0, done;
	double start = seconds();

	if (strcmp(what, "write") == 0 && n)
		done = bench_write(path, n, argc > 4);
	else if (strcmp(what, "read") == 0)
		done = bench_read(path);
	else if (strcmp(what, "mmap") == 0)
		done = bench_mmap(path);
	else if (strcmp(what, "random") == 0 && n)
		done = bench_random(path, n);
	else if (strcmp(what, "create") == 0 && n)
		done = bench_create(path, n);
	else if (strcmp(what, "stat") == 0 && n)
		done = bench_stat(path, n);
	else if (strcmp(what, "list") == 0)
		done = bench_list(path);
	else if (strcmp(what, "unlink") == 0 && n)
		done = bench_unlink(path, n);
	else {
		fprintf(stderr, "usage: bench_files write|read|mmap|random|create|stat|list|unlink "
				"PATH [COUNT]\n");
		return 2;
	}
	printf("%llu %.6f\n", (unsigned long long)done, seconds() - start);
	return 0;
}
