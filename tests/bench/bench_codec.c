/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codecs on one core, over the blocks of a file as the 64 KiB grid cuts it:
 *
 *   bench_codec AIM [-j] [-m MIB] [-n TIMES] FILE...   AIM: auto, small, raw, lz4, ...;
 *                                                      FILE `random`: noise; -j: all as one file
 *
 * A line for each file: plain bytes, stored bytes, blocks, then the seconds that looking at the
 * blocks (detector), encoding (looking included), decoding and, to compare with, copying by
 * memcpy() took, then how many blocks each codec holds (raw=N ...), then the file.
 *
 * Seconds are processor time, the median of TIMES passes. Copies and decoding take turns and fill
 * the same memory: how that lies in the machine makes more of a difference than a codec. Files are
 * repeated in memory until they fill MIB; plain, encoded and decoded blocks have places of their
 * own, so that no pass finds its bytes in a cache; counts and seconds are those of one turn. What
 * is decoded is compared with what went in.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/codec/codec.h"

#define MIB_DEFAULT   96u
#define TIMES_DEFAULT 3u
#define TIMES_MAX     99u
#define CODECS_MAX    8u
#define NOISE_BYTES   ((size_t)16 << 20)

struct block {
	uint32_t plain, stored;		/* bytes */
	uint8_t codec;
};

enum step { DETECT, ENCODE, COPY, DECODE, STEPS };

struct bench {
	struct codec_scratch *scratch;
	enum codec_aim aim;
	uint8_t *plain, *stored, *out;	/* block i at i * BLOCK_BYTES_MAX of each */
	struct block *list;
	size_t blocks, repeats;
	uint64_t stored_bytes, counts[CODECS_MAX];
	double took[STEPS][TIMES_MAX];	/* seconds of each pass; sorted after measure() */
};

static _Noreturn void die(const char *what, const char *path)
{
	fprintf(stderr, "bench_codec: cannot %s '%s'\n", what, path);
	exit(1);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void plan_block(struct bench *b, size_t i, struct codec_bytes *plain,
		       struct codec_plan *plan)
{
	struct codec_plan previous = *plan;

	*plain = (struct codec_bytes){ b->plain + i * BLOCK_BYTES_MAX, b->list[i].plain };
	codec_detect(b->aim, plain, i > 0 ? &previous : NULL, plan);
}

static void detect(struct bench *b)
{
	struct codec_plan plan = { .codec = CODEC_RAW };
	struct codec_bytes plain;

	for (size_t i = 0; i < b->blocks; i++)
		plan_block(b, i, &plain, &plan);
}

static void encode(struct bench *b)
{
	struct codec_plan plan = { .codec = CODEC_RAW };
	struct codec_bytes plain;

	b->stored_bytes = 0;
	memset(b->counts, 0, sizeof b->counts);
	for (size_t i = 0; i < b->blocks; i++) {
		uint8_t *to = b->stored + i * BLOCK_BYTES_MAX;
		uint32_t len = 0;

		plan_block(b, i, &plain, &plan);
		if (plan.codec != CODEC_RAW)
			len = codec_shrink(b->scratch, &plan, &plain, to);
		if (len == 0)
			memcpy(to, plain.bytes, plain.len);
		b->list[i].codec = len ? (uint8_t)plan.codec : CODEC_RAW;
		b->list[i].stored = len ? len : plain.len;
		b->counts[b->list[i].codec]++;
		b->stored_bytes += b->list[i].stored;
	}
}

static void decode(struct bench *b)
{
	for (size_t i = 0; i < b->blocks; i++) {
		const struct block *block = &b->list[i];
		const uint8_t *from = b->stored + i * BLOCK_BYTES_MAX;
		uint8_t *to = b->out + i * BLOCK_BYTES_MAX;

		if (block->codec == CODEC_RAW)
			memcpy(to, from, block->plain);
		else if (codec_decode(b->scratch, block->codec, from, block->stored, to,
				      block->plain) != 0)
			die("decode", "what was encoded");
	}
}

static void copy(struct bench *b)
{
	for (size_t i = 0; i < b->blocks; i++)
		memcpy(b->out + i * BLOCK_BYTES_MAX, b->plain + i * BLOCK_BYTES_MAX,
		       b->list[i].plain);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(struct bench *b, unsigned times)
{
	static void (*const steps[STEPS])(struct bench *) = { detect, encode, copy, decode };

	for (unsigned i = 0; i < times; i++) {
		for (enum step step = 0; step < STEPS; step++) {
			double began = seconds();

			steps[step](b);
			b->took[step][i] = seconds() - began;
		}
	}
	for (enum step step = 0; step < STEPS; step++)
		qsort(b->took[step], times, sizeof **b->took, by_size);
	memset(b->out, 0, b->blocks * BLOCK_BYTES_MAX);	/* of the copies */
	decode(b);
	for (size_t at = 0, i = 0; i < b->blocks; i++, at += BLOCK_BYTES_MAX) {
		if (memcmp(b->out + at, b->plain + at, b->list[i].plain) != 0)
			die("find what went in in", "what was decoded");
	}
}

/* Memory that is there already: a pass must not pay for its first use. */
static void *touched(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (map == MAP_FAILED)
		die("map", "memory");
	return map;
}

static size_t noise(uint8_t *all)
{
	uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = 0; all && i < NOISE_BYTES; i += sizeof x) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(all + i, &x, sizeof x);
	}
	return NOISE_BYTES;
}

/* A file whole; with `all` NULL its bytes are only counted. */
static size_t contents(const char *path, uint8_t *all)
{
	struct stat st;
	size_t bytes = 0;
	int fd;

	if (strcmp(path, "random") == 0)
		return noise(all);
	fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0)
		die("open", path);
	while (all && bytes < (size_t)st.st_size) {
		ssize_t n = read(fd, all + bytes, (size_t)st.st_size - bytes);

		if (n <= 0)
			die("read", path);
		bytes += (size_t)n;
	}
	close(fd);
	return (size_t)st.st_size;
}

/* The files as a list of blocks, several times over, until there are `mib`; bytes of one turn. */
static size_t gather(struct bench *b, char **files, uint64_t mib)
{
	size_t bytes = 0, blocks = 0, repeats, at = 0;

	for (char **f = files; *f; f++) {
		size_t size = contents(*f, NULL);

		bytes += size;
		blocks += (size + BLOCK_BYTES_MAX - 1) / BLOCK_BYTES_MAX;
	}
	repeats = MAX_OF((size_t)(mib << 20) / (blocks * BLOCK_BYTES_MAX), (size_t)1);
	b->repeats = repeats;
	b->blocks = repeats * blocks;
	b->plain = touched(b->blocks * BLOCK_BYTES_MAX);
	b->stored = touched(b->blocks * BLOCK_BYTES_MAX);
	b->out = touched(b->blocks * BLOCK_BYTES_MAX);
	b->list = touched(b->blocks * sizeof *b->list);
	for (size_t turn = 0; turn < repeats; turn++) {
		for (char **f = files; *f; f++) {
			size_t left = contents(*f, b->plain + at * BLOCK_BYTES_MAX);

			for (; left > 0; at++) {
				b->list[at].plain = (uint32_t)MIN_OF(left, BLOCK_BYTES_MAX);
				left -= b->list[at].plain;
			}
		}
	}
	return bytes;
}

static void print_files(struct bench *b, char **files, uint64_t mib, unsigned times)
{
	size_t bytes = gather(b, files, mib);
	double n = (double)b->repeats;

	measure(b, times);
	printf("%zu %llu %zu %.6f %.6f %.6f %.6f", bytes,
	       (unsigned long long)(b->stored_bytes / b->repeats), b->blocks / b->repeats,
	       b->took[DETECT][times / 2] / n, b->took[ENCODE][times / 2] / n,
	       b->took[DECODE][times / 2] / n, b->took[COPY][times / 2] / n);
	for (unsigned i = 0; i < CODEC_COUNT; i++)
		printf(" %s=%llu", codec_name((enum codec)i),
		       (unsigned long long)(b->counts[i] / b->repeats));
	printf(" %s\n", *files);
	munmap(b->plain, b->blocks * BLOCK_BYTES_MAX);
	munmap(b->stored, b->blocks * BLOCK_BYTES_MAX);
	munmap(b->out, b->blocks * BLOCK_BYTES_MAX);
	munmap(b->list, b->blocks * sizeof *b->list);
}

static int usage(void)
{
	fprintf(stderr, "usage: bench_codec AIM [-j] [-m MIB] [-n TIMES] FILE...\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t mib = MIB_DEFAULT;
	unsigned times = TIMES_DEFAULT;
	struct bench b = { .scratch = codec_scratch_create() };
	bool is_one = false;
	int option;

	if (argc < 3 || !b.scratch)
		return usage();
	if (codec_aim_parse(argv[1], &b.aim) != 0)
		return usage();
	for (optind = 2; (option = getopt(argc, argv, "jm:n:")) != -1;) {
		if (option == 'm')
			mib = strtoull(optarg, NULL, 10);
		else if (option == 'n')
			times = (unsigned)strtoul(optarg, NULL, 10);
		else if (option == 'j')
			is_one = true;
		else
			return usage();
	}
	if (mib == 0 || times == 0 || times > TIMES_MAX || optind == argc)
		return usage();
	for (int i = optind; i < argc && !is_one; i++)
		print_files(&b, (char *[]){ argv[i], NULL }, mib, times);
	if (is_one)
		print_files(&b, argv + optind, mib, times);
	codec_scratch_destroy(b.scratch);
	return 0;
}
