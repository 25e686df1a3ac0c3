/* SPDX-License-Identifier: Apache-2.0 */
/* Contents: sequential, by mapping, at random places, overwritten, appended. */
#include "tests/bench/files/files.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX   64u
#define COPY_MARK_EACH ((size_t)32 << 10) /* so that no two blocks are equal */
#define RANDOM_SEED   UINT64_C(0x9e3779b97f4a7c15)

struct reader {
	pthread_t thread;
	const char *path;
	int fd;
	uint64_t seed, count, pages;
};

static int open_file(const char *path, int flags, off_t *bytes)
{
	int fd = open(path, flags);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		files_die("open", path);
	*bytes = st.st_size;
	return fd;
}

static void close_synced(int fd, const char *path, int with_fsync)
{
	if ((with_fsync && fsync(fd) != 0) || close(fd) != 0)
		files_die("sync", path);
}

uint64_t data_write(const struct arguments *a)
{
	const char *path = files_text(a, 0);
	uint64_t mib = files_number(a, 1);
	int with_fsync = a->count > 2 && strcmp(files_text(a, 2), "fsync") == 0;
	uint8_t *bytes = files_noise(CALL_BYTES, files_number_or(a, 3, 0));
	int fd;

	files_begin();
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		files_die("create", path);
	for (uint64_t i = 0; i < mib; i++) {
		files_mark(bytes, CALL_BYTES, i * CALL_BYTES);
		files_write(fd, bytes, CALL_BYTES, path);
	}
	close_synced(fd, path, with_fsync);
	free(bytes);
	return mib * CALL_BYTES;
}

static uint8_t *map_file(const char *path, size_t *bytes)
{
	off_t size;
	int fd = open_file(path, O_RDONLY, &size);
	uint8_t *map = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);

	if (map == MAP_FAILED || size < (off_t)CALL_BYTES)
		files_die("map", path);
	close(fd);
	*bytes = (size_t)size;
	return map;
}

/* As data_write(), but the contents are those of another file, as often as they are needed. */
uint64_t data_copy(const struct arguments *a)
{
	const char *path = files_text(a, 1);
	uint64_t mib = files_number(a, 2), seed = files_number(a, 3);
	uint8_t *bytes = files_noise(CALL_BYTES, 1);
	size_t source_bytes;
	uint8_t *source = map_file(files_text(a, 0), &source_bytes);
	size_t calls = source_bytes / CALL_BYTES;
	int fd;

	files_begin();
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		files_die("create", path);
	for (uint64_t i = 0; i < mib; i++) {
		memcpy(bytes, source + i % calls * CALL_BYTES, CALL_BYTES);
		for (size_t at = 0; at < CALL_BYTES; at += COPY_MARK_EACH)
			files_mark(bytes + at, PAGE_BYTES, (seed << 40) + i * CALL_BYTES + at);
		files_write(fd, bytes, CALL_BYTES, path);
	}
	close_synced(fd, path, 1);
	munmap(source, source_bytes);
	free(bytes);
	return mib * CALL_BYTES;
}

uint64_t data_read(const struct arguments *a)
{
	const char *path = files_text(a, 0);
	uint8_t *bytes = files_noise(CALL_BYTES, 1);
	uint64_t total = 0;
	ssize_t n;
	int fd;

	files_begin();
	fd = open(path, O_RDONLY);
	if (fd < 0)
		files_die("open", path);
	while ((n = read(fd, bytes, CALL_BYTES)) > 0)
		total += (uint64_t)n;
	if (n < 0)
		files_die("read", path);
	close(fd);
	free(bytes);
	return total;
}

/* What a loader of models does: each file is mapped, read through, and stays mapped. */
uint64_t data_mmap(const struct arguments *a)
{
	volatile uint64_t sum = 0;
	uint64_t total = 0;

	for (int i = 0; i < a->count; i++) {
		const char *path = files_text(a, i);
		off_t bytes;
		int fd = open_file(path, O_RDONLY, &bytes);
		uint8_t *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);

		if (map == MAP_FAILED)
			files_die("map", path);
		for (size_t at = 0; at < (size_t)bytes; at += PAGE_BYTES)
			sum += map[at];
		total += (uint64_t)bytes;
		close(fd);
	}
	(void)sum;
	return total;
}

static void *read_at_random(void *arg)
{
	struct reader *r = arg;
	uint8_t page[PAGE_BYTES];

	for (uint64_t i = 0; i < r->count; i++) {
		off_t at = (off_t)(files_random(&r->seed) % r->pages * PAGE_BYTES);

		if (pread(r->fd, page, sizeof page, at) != (ssize_t)sizeof page)
			files_die("read", r->path);
	}
	return NULL;
}

/* COUNT reads in all, from one open file, divided among the threads. */
uint64_t data_random(const struct arguments *a)
{
	static struct reader readers[THREADS_MAX];
	uint64_t count = files_number(a, 1), threads = files_number_or(a, 2, 1);
	const char *path = files_text(a, 0);
	off_t bytes;
	int fd = open_file(path, O_RDONLY, &bytes);

	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	for (uint64_t i = 0; i < threads; i++) {
		readers[i] = (struct reader){ .path = path, .fd = fd,
			.seed = RANDOM_SEED * (2 * i + 1), .count = count / threads,
			.pages = (uint64_t)bytes / PAGE_BYTES };
		if (pthread_create(&readers[i].thread, NULL, read_at_random, &readers[i]) != 0)
			files_die("start a thread for", path);
	}
	for (uint64_t i = 0; i < threads; i++)
		pthread_join(readers[i].thread, NULL);
	close(fd);
	return count / threads * threads;
}

uint64_t data_overwrite(const struct arguments *a)
{
	uint64_t count = files_number(a, 1), seed = RANDOM_SEED;
	uint8_t *page = files_noise(PAGE_BYTES, 0);
	const char *path = files_text(a, 0);
	off_t bytes;
	int fd = open_file(path, O_WRONLY, &bytes);

	files_begin();
	for (uint64_t i = 0; i < count; i++) {
		off_t at = (off_t)(files_random(&seed) % ((uint64_t)bytes / PAGE_BYTES) *
				   PAGE_BYTES);

		files_mark(page, PAGE_BYTES, i);
		if (pwrite(fd, page, PAGE_BYTES, at) != (ssize_t)PAGE_BYTES)
			files_die("write", path);
	}
	close_synced(fd, path, 1);
	free(page);
	return count;
}

uint64_t data_append(const struct arguments *a)
{
	uint64_t count = files_number(a, 1);
	uint8_t *page = files_noise(PAGE_BYTES, 0);
	const char *path = files_text(a, 0);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);

	if (fd < 0)
		files_die("open", path);
	files_begin();
	for (uint64_t i = 0; i < count; i++) {
		files_mark(page, PAGE_BYTES, i);
		files_write(fd, page, PAGE_BYTES, path);
	}
	close_synced(fd, path, 1);
	free(page);
	return count;
}
