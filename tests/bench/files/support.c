/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments, time, noise and failure of bench_files. */
#include "tests/bench/files/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double began;

const char *files_text(const struct arguments *a, int index)
{
	if (index < a->count)
		return a->texts[index];
	fprintf(stderr, "bench_files: argument %d is missing\n", index + 1);
	exit(2);
}

uint64_t files_number(const struct arguments *a, int index)
{
	const char *text = files_text(a, index);
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (n > 0 && *end == '\0')
		return n;
	fprintf(stderr, "bench_files: '%s' is not a number above 0\n", text);
	exit(2);
}

uint64_t files_number_or(const struct arguments *a, int index, uint64_t otherwise)
{
	return index < a->count ? files_number(a, index) : otherwise;
}

static double clock_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void files_begin(void)
{
	began = clock_seconds();
}

double files_seconds(void)
{
	return clock_seconds() - began;
}

_Noreturn void files_die(const char *what, const char *path)
{
	fprintf(stderr, "bench_files: cannot %s '%s': %s\n", what, path, strerror(errno));
	exit(1);
}

void files_write(int fd, const void *bytes, size_t len, const char *path)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)bytes + done, len - done);

		if (n <= 0)
			files_die("write", path);
		done += (size_t)n;
	}
}

uint64_t files_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

uint8_t *files_noise(size_t len, uint64_t seed)
{
	uint64_t state = seed ? seed : (uint64_t)(clock_seconds() * 1e9) | 1;
	uint8_t *bytes = aligned_alloc(PAGE_BYTES, len);

	if (!bytes)
		files_die("allocate", "a buffer");
	for (size_t i = 0; i < len; i += sizeof state) {
		uint64_t word = files_random(&state);

		memcpy(bytes + i, &word, sizeof word);
	}
	return bytes;
}

void files_mark(uint8_t *bytes, size_t len, uint64_t place)
{
	for (size_t i = 0; i < len; i += PAGE_BYTES) {
		uint64_t mark = place + i;

		memcpy(bytes + i, &mark, sizeof mark);
	}
}
