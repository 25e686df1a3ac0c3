/* SPDX-License-Identifier: Apache-2.0 */
/* Speeds of disks and codecs. */
#include "chunk-server/calibrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "fs/hash/checksum.h"

#define FILE_NAME	"calibration.data"
#define PIECE		MiB(1)
#define FREE_PART	16u
#define DOUBLINGS	5u /* 1 + 2 + 4 + 8 + 16 MiB */
#define WRITE_NS	60000000u
#define READ_NS		100000000u
#define SAMPLE_BLOCKS	4u
#define CODEC_NS	4000000u /* for each way of each codec */
#define NS_PER_S	1000000000u
#define SMALLER_PERCENT 90u /* as fast, for the gain in space */

/* --- who we are ---- */

static uint64_t processor(uint64_t seed)
{
	char line[256];
	FILE *info = fopen("/proc/cpuinfo", "re");

	while (info != NULL && fgets(line, sizeof(line), info) != NULL) {
		if (strncmp(line, "model name", 10) == 0 || strncmp(line, "CPU part", 8) == 0) {
			seed = checksum_seeded(line, strlen(line), seed);
			break;
		}
	}
	if (info != NULL)
		(void)fclose(info);
	return seed;
}

uint64_t cs_calibrate_machine(void)
{
	struct utsname system;
	uint64_t sum = checksum_of(CAIRN_VERSION, sizeof(CAIRN_VERSION));

	if (uname(&system) == 0)
		sum = checksum_seeded(system.release, strlen(system.release), sum);
	return processor(sum);
}

uint32_t cs_calibrate_cores(void)
{
	return (uint32_t)MAX_OF(sysconf(_SC_NPROCESSORS_ONLN), 1);
}

/* --- the file ---- */

int cs_calibrate_load(struct disk *disk, uint64_t device, struct calibration *out)
{
	uint8_t bytes[CALIBRATION_BYTES];
	int rc = disk_read_file(disk, CALIBRATION_FILE, bytes, sizeof(bytes));

	if (rc != (int)sizeof(bytes) || calibration_decode(bytes, out) < 0 ||
	    out->device != device || out->machine != cs_calibrate_machine())
		return -E_NOENT;
	return 0;
}

int cs_calibrate_store(struct disk *disk, const struct calibration *c)
{
	uint8_t bytes[CALIBRATION_BYTES];

	calibration_encode(c, bytes);
	return disk_replace_file(disk, CALIBRATION_FILE, bytes, sizeof(bytes));
}

/* --- a disk ---- */

static uint64_t rate(uint64_t bytes, uint64_t ns)
{
	return (uint64_t)((double)bytes * NS_PER_S / (double)MAX_OF(ns, 1u));
}

/* What no disk can shrink. */
static void fill(uint8_t *bytes, size_t len)
{
	uint64_t state = 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i + 8 <= len; i += 8) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(bytes + i, &state, 8);
	}
}

/* More and more at once, until it takes long. The bytes that are there. */
static int64_t write_some(struct disk_file *file, struct loop *clock, uint8_t *piece,
			  uint64_t bytes_max, struct calibration *out)
{
	uint64_t begin = loop_now_ns(clock), bytes = 0;

	for (uint32_t step = 0; step < DOUBLINGS; step++) {
		uint64_t more = (uint64_t)PIECE << step;
		if (bytes + more > bytes_max || loop_now_ns(clock) - begin > WRITE_NS)
			break;
		for (uint64_t done = 0; done < more; done += PIECE) {
			int rc = disk_write(file, piece, PIECE, bytes + done);
			if (rc < 0)
				return rc;
		}
		int rc = disk_sync(file);
		if (rc < 0)
			return rc;
		bytes += more;
		out->write_bytes_per_s = rate(bytes, loop_now_ns(clock) - begin);
	}
	return (int64_t)bytes;
}

static int read_some(struct disk *disk, struct loop *clock, uint8_t *piece, uint64_t bytes,
		     struct calibration *out)
{
	uint64_t begin = loop_now_ns(clock), done = 0;
	struct disk_file *file;
	int rc = disk_open(disk, FILE_NAME, DISK_READ | DISK_DIRECT, &file);

	if (rc < 0)
		return rc;
	while (done < bytes && (done == 0 || loop_now_ns(clock) - begin < READ_NS)) {
		rc = disk_read(file, piece, PIECE, done);
		if (rc != (int)PIECE)
			break;
		done += PIECE;
	}
	if (done > 0)
		out->read_bytes_per_s = rate(done, loop_now_ns(clock) - begin);
	disk_close(file);
	return rc < 0 ? rc : 0;
}

static int measure(struct disk *disk, struct loop *clock, uint8_t *piece, uint64_t bytes_max,
		   struct calibration *out)
{
	struct disk_file *file;
	int rc = disk_open(disk, FILE_NAME, DISK_WRITE | DISK_CREATE, &file);

	if (rc < 0)
		return rc;
	int64_t bytes = write_some(file, clock, piece, bytes_max, out);
	disk_close(file);
	if (bytes > 0)
		bytes = read_some(disk, clock, piece, (uint64_t)bytes, out);
	rc = disk_unlink(disk, FILE_NAME);
	return bytes < 0 ? (int)bytes : rc;
}

int cs_calibrate_disk(struct disk *disk, struct loop *clock, struct calibration *out)
{
	struct disk_space space;
	int rc = disk_space(disk, &space);

	out->read_bytes_per_s = out->write_bytes_per_s = 0;
	if (rc < 0 || space.bytes_free / FREE_PART < PIECE)
		return rc;
	uint8_t *piece = aligned_alloc(DISK_ALIGN, PIECE);
	if (piece == NULL)
		return -E_NOMEM;
	fill(piece, PIECE);
	rc = measure(disk, clock, piece, space.bytes_free / FREE_PART, out);
	free(piece);
	return rc;
}

/* --- codecs ---- */

/* Floats of 16 bits around zero, nearly normal: what most models are made of. */
static void make_sample(uint8_t *bytes, size_t len)
{
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; i + 2 <= len; i += 2) {
		float sum = -6;
		uint32_t bits;
		for (uint32_t n = 0; n < 12; n++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			sum += (float)(state >> 40) / (float)(1u << 24);
		}
		sum *= 0.02f;
		memcpy(&bits, &sum, sizeof(bits));
		bytes[i] = (uint8_t)(bits >> 16);
		bytes[i + 1] = (uint8_t)(bits >> 24);
	}
}

struct codec_run {
	struct codec_scratch *scratch;
	struct loop *clock;
	uint8_t *plain, *stored, *back; /* SAMPLE_BLOCKS blocks; the others one */
	enum codec codec;
};

/* Plain bytes a second of encoding; *bytes: what the sample takes. */
static uint64_t encode_rate(struct codec_run *run, uint64_t *bytes)
{
	uint64_t begin = loop_now_ns(run->clock), done = 0, now;

	*bytes = 0;
	do {
		uint32_t block = (uint32_t)(done / BLOCK_BYTES_MAX % SAMPLE_BLOCKS);
		struct codec_bytes plain = {run->plain + block * BLOCK_BYTES_MAX, BLOCK_BYTES_MAX};
		struct codec_plan plan;
		codec_detect(codec_aim_of(run->codec), &plain, NULL, &plan);
		uint32_t len = plan.codec == CODEC_RAW
				       ? 0
				       : codec_shrink(run->scratch, &plan, &plain, run->stored);
		if (done < SAMPLE_BLOCKS * BLOCK_BYTES_MAX)
			*bytes += len > 0 ? len : BLOCK_BYTES_MAX;
		done += BLOCK_BYTES_MAX;
		now = loop_now_ns(run->clock);
	} while (done < SAMPLE_BLOCKS * BLOCK_BYTES_MAX || now - begin < CODEC_NS);
	return rate(done, now - begin);
}

static uint64_t decode_rate(struct codec_run *run)
{
	struct codec_bytes plain = {run->plain, BLOCK_BYTES_MAX};
	struct codec_plan plan;
	uint64_t done = 0, now;

	codec_detect(codec_aim_of(run->codec), &plain, NULL, &plan);
	uint32_t len = plan.codec == CODEC_RAW
			       ? 0
			       : codec_shrink(run->scratch, &plan, &plain, run->stored);
	uint64_t begin = loop_now_ns(run->clock);
	do {
		if (len == 0)
			memcpy(run->back, run->plain, BLOCK_BYTES_MAX);
		else if (codec_decode(run->scratch, plan.codec, run->stored, len, run->back,
				      BLOCK_BYTES_MAX) < 0)
			return 0;
		done += BLOCK_BYTES_MAX;
		now = loop_now_ns(run->clock);
	} while (now - begin < CODEC_NS);
	return rate(done, now - begin);
}

static void measure_codec(struct codec_run *run, struct calibration_codec *out)
{
	uint64_t bytes;

	out->encode_bytes_per_s = encode_rate(run, &bytes);
	out->decode_bytes_per_s = decode_rate(run);
	out->ratio_permille = (uint32_t)(SAMPLE_BLOCKS * BLOCK_BYTES_MAX * 1000ull / bytes);
}

int cs_calibrate_codecs(struct loop *clock, struct calibration *out)
{
	struct codec_run run = {.clock = clock, .scratch = codec_scratch_create()};
	size_t sample_bytes = SAMPLE_BLOCKS * BLOCK_BYTES_MAX;

	run.plain = malloc(sample_bytes + 2 * BLOCK_BYTES_MAX);
	int rc = run.plain == NULL || run.scratch == NULL ? -E_NOMEM : 0;
	if (rc == 0) {
		run.stored = run.plain + sample_bytes;
		run.back = run.stored + BLOCK_BYTES_MAX;
		make_sample(run.plain, sample_bytes);
	}
	for (unsigned i = 0; rc == 0 && i < CALIBRATION_CODECS; i++) {
		run.codec = (enum codec)i;
		out->codecs[i] = (struct calibration_codec){0};
		if (codec_is_known(i))
			measure_codec(&run, &out->codecs[i]);
	}
	free(run.plain);
	codec_scratch_destroy(run.scratch);
	return rc;
}

/* --- what follows ---- */

/* Plain bytes a second that reach a reader. */
static uint64_t reading(uint64_t disk, const struct calibration_codec *codec, uint32_t cores)
{
	uint64_t ratio = MAX_OF(codec->ratio_permille, 1000u);

	return MIN_OF(disk * ratio / 1000, codec->decode_bytes_per_s * cores);
}

enum codec_aim cs_calibrate_aim(const struct calibration *c, enum media_kind kind, uint32_t cores)
{
	const struct calibration_codec *small = NULL, *fast = NULL;

	if (c != NULL) {
		small = &c->codecs[CODEC_PLANES];
		if (small->decode_bytes_per_s == 0)
			small = &c->codecs[CODEC_ZSTD];
		fast = &c->codecs[CODEC_NIBBLE];
		if (fast->decode_bytes_per_s == 0)
			fast = &c->codecs[CODEC_RAW];
	}
	if (c == NULL || small->decode_bytes_per_s == 0 || fast->decode_bytes_per_s == 0)
		return kind == MEDIA_MEMORY ? CODEC_AIM_FAST : CODEC_AIM_SMALL;
	uint64_t disk = c->read_bytes_per_s;
	if (disk == 0)
		disk = media_profile(kind)->bytes_per_s;
	return reading(disk, small, cores) >= reading(disk, fast, cores) / 100 * SMALLER_PERCENT
		       ? CODEC_AIM_SMALL
		       : CODEC_AIM_FAST;
}
