/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codecs on one core, over the blocks of a file as the 64 KiB grid cuts it:
 *
 *   bench_codec AIM [-m MIB] [-n TIMES] FILE...      AIM: auto, small, raw, lz4, ..., memcpy;
 *                                                    FILE `random`: noise
 *
 * A line for each file: plain bytes, stored bytes, blocks, then the seconds that looking at the
 * blocks (detector), encoding (looking included) and decoding took, then how many blocks each
 * codec holds (raw=N ...), then the file. Seconds are processor time of the fastest of TIMES
 * passes. A file is repeated in memory until it fills MIB, the blocks that were encoded and those
 * that were decoded have places of their own, so that no pass finds its bytes in a cache; the
 * counts are those of one file. What is decoded is compared with what went in.
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
#define CODECS_MAX    8u
#define NOISE_BYTES   ((size_t)16 << 20)

struct stored {
	uint8_t codec;
	uint32_t len;
};

struct bench {
	struct codec_scratch *scratch;
	enum codec_aim aim;
	bool copies;			/* memcpy instead of a codec */
	const uint8_t *plain;
	size_t plain_bytes, blocks;
	uint8_t *stored, *out;
	struct stored *list;
	uint64_t stored_bytes, counts[CODECS_MAX];
	double detect_s, encode_s, decode_s;
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

static struct codec_bytes block_at(const struct bench *b, size_t i)
{
	size_t at = i * BLOCK_BYTES_MAX, left = b->plain_bytes - at;

	return (struct codec_bytes){ b->plain + at, (uint32_t)MIN_OF(left, BLOCK_BYTES_MAX) };
}

static void encode(struct bench *b)
{
	struct codec_plan plan = { 0 };

	b->stored_bytes = 0;
	memset(b->counts, 0, sizeof b->counts);
	for (size_t i = 0; i < b->blocks; i++) {
		struct codec_bytes plain = block_at(b, i);
		uint8_t *to = b->stored + i * BLOCK_BYTES_MAX;
		uint32_t len = 0;

		if (!b->copies) {
			struct codec_plan previous = plan;

			codec_detect(b->aim, &plain, i > 0 ? &previous : NULL, &plan);
			if (plan.codec != CODEC_RAW)
				len = codec_shrink(b->scratch, &plan, &plain, to);
		}
		if (len == 0)
			memcpy(to, plain.bytes, plain.len);
		b->list[i] = (struct stored){ len ? (uint8_t)plan.codec : CODEC_RAW,
					      len ? len : plain.len };
		b->counts[b->list[i].codec]++;
		b->stored_bytes += b->list[i].len;
	}
}

static void detect(struct bench *b)
{
	struct codec_plan plan = { 0 };

	for (size_t i = 0; i < b->blocks && !b->copies; i++) {
		struct codec_bytes plain = block_at(b, i);
		struct codec_plan previous = plan;

		codec_detect(b->aim, &plain, i > 0 ? &previous : NULL, &plan);
	}
}

static void decode(struct bench *b)
{
	for (size_t i = 0; i < b->blocks; i++) {
		const struct stored *s = &b->list[i];
		const uint8_t *from = b->stored + i * BLOCK_BYTES_MAX;
		uint8_t *to = b->out + i * BLOCK_BYTES_MAX;

		if (s->codec == CODEC_RAW)
			memcpy(to, from, s->len);
		else if (codec_decode(b->scratch, s->codec, from, s->len, to,
				      block_at(b, i).len) != 0)
			die("decode what was encoded of", "a block");
	}
}

static void fastest(double *best, double began, bool is_first)
{
	double took = seconds() - began;

	if (is_first || took < *best)
		*best = took;
}

static void measure(struct bench *b, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		double began = seconds();

		detect(b);
		fastest(&b->detect_s, began, i == 0);
		began = seconds();
		encode(b);
		fastest(&b->encode_s, began, i == 0);
		began = seconds();
		decode(b);
		fastest(&b->decode_s, began, i == 0);
	}
	if (memcmp(b->out, b->plain, b->plain_bytes) != 0)
		die("find what went in in", "what was decoded");
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

static uint8_t *noise(size_t *bytes)
{
	uint8_t *all = malloc(NOISE_BYTES);
	uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

	if (!all)
		die("allocate", "noise");
	for (size_t i = 0; i < NOISE_BYTES; i += sizeof x) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(all + i, &x, sizeof x);
	}
	*bytes = NOISE_BYTES;
	return all;
}

static uint8_t *contents(const char *path, size_t *bytes)
{
	struct stat st;
	uint8_t *all;
	int fd;

	if (strcmp(path, "random") == 0)
		return noise(bytes);
	fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0)
		die("open", path);
	all = malloc((size_t)st.st_size);
	*bytes = 0;
	while (all && *bytes < (size_t)st.st_size) {
		ssize_t n = read(fd, all + *bytes, (size_t)st.st_size - *bytes);

		if (n <= 0)
			die("read", path);
		*bytes += (size_t)n;
	}
	close(fd);
	if (!all)
		die("allocate memory for", path);
	return all;
}

/* The same file several times over, each time from the begin of a block. */
static void print_file(struct bench *b, const char *path, uint64_t mib, unsigned times)
{
	size_t bytes, grid, repeats;
	uint8_t *one = contents(path, &bytes), *all;

	grid = (bytes + BLOCK_BYTES_MAX - 1) / BLOCK_BYTES_MAX * BLOCK_BYTES_MAX;
	repeats = MAX_OF((size_t)(mib << 20) / grid, (size_t)1);
	all = touched(repeats * grid);
	for (size_t i = 0; i < repeats; i++)
		memcpy(all + i * grid, one, bytes);
	free(one);
	b->plain = all;
	b->plain_bytes = (repeats - 1) * grid + bytes;
	b->blocks = repeats * (grid / BLOCK_BYTES_MAX);
	b->stored = touched(repeats * grid);
	b->out = touched(repeats * grid);
	b->list = touched(b->blocks * sizeof *b->list);
	measure(b, times);

	double share = (double)bytes / (double)b->plain_bytes;

	printf("%zu %.0f %zu %.6f %.6f %.6f", bytes, (double)b->stored_bytes * share,
	       grid / BLOCK_BYTES_MAX, b->detect_s * share, b->encode_s * share,
	       b->decode_s * share);
	for (unsigned i = 0; i < CODEC_COUNT; i++)
		printf(" %s=%llu", codec_name((enum codec)i),
		       (unsigned long long)(b->counts[i] / repeats));
	printf(" %s\n", path);
	munmap(all, repeats * grid);
	munmap(b->stored, repeats * grid);
	munmap(b->out, repeats * grid);
	munmap(b->list, b->blocks * sizeof *b->list);
}

static int usage(void)
{
	fprintf(stderr, "usage: bench_codec AIM|memcpy [-m MIB] [-n TIMES] FILE...\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t mib = MIB_DEFAULT;
	unsigned times = TIMES_DEFAULT;
	struct bench b = { .scratch = codec_scratch_create() };
	int option;

	if (argc < 3 || !b.scratch)
		return usage();
	b.copies = strcmp(argv[1], "memcpy") == 0;
	if (!b.copies && codec_aim_parse(argv[1], &b.aim) != 0)
		return usage();
	for (optind = 2; (option = getopt(argc, argv, "m:n:")) != -1;) {
		if (option == 'm')
			mib = strtoull(optarg, NULL, 10);
		else if (option == 'n')
			times = (unsigned)strtoul(optarg, NULL, 10);
		else
			return usage();
	}
	if (mib == 0 || times == 0 || optind == argc)
		return usage();
	for (int i = optind; i < argc; i++)
		print_file(&b, argv[i], mib, times);
	codec_scratch_destroy(b.scratch);
	return 0;
}
