/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was measured comes back while device and machine are the same; what follows for the codec of
 * cold blocks; and a real disk is measured in little time, leaving nothing behind.
 */
#include "chunk-server/calibrate.h"

#include <string.h>

#include "tests/check_main.h"
#include "tests/scratch.h"

#define DEVICE 77u

static struct scratch scratch;
static struct disk *disk;
static struct loop *loop;

static void begin(void)
{
	scratch_init(&scratch);
	ck_assert_int_eq(disk_posix_create(scratch.path, &disk), 0);
	ck_assert_int_eq(loop_uv_create(1, &loop), 0);
}

static void end(void)
{
	loop_uv_destroy(loop);
	disk_destroy(disk);
	scratch_finish(&scratch);
}

static struct calibration example(void)
{
	struct calibration c = {.device = DEVICE, .machine = cs_calibrate_machine(),
				.measured_ns = 5, .read_bytes_per_s = MiB(1000),
				.write_bytes_per_s = MiB(500)};

	for (uint32_t i = 0; i < CALIBRATION_CODECS; i++)
		c.codecs[i] = (struct calibration_codec){MiB(i + 1), MiB(2 * i + 1), 1000 + i};
	return c;
}

START_TEST(what_was_measured_comes_back)
{
	struct calibration c = example(), found;

	ck_assert_int_eq(cs_calibrate_load(disk, DEVICE, &found), -E_NOENT);
	ck_assert_int_eq(cs_calibrate_store(disk, &c), 0);
	ck_assert_int_eq(cs_calibrate_load(disk, DEVICE, &found), 0);
	ck_assert_uint_eq(found.measured_ns, c.measured_ns);
	ck_assert_uint_eq(found.read_bytes_per_s, c.read_bytes_per_s);
	ck_assert_uint_eq(found.write_bytes_per_s, c.write_bytes_per_s);
	for (uint32_t i = 0; i < CALIBRATION_CODECS; i++) {
		ck_assert(found.codecs[i].encode_bytes_per_s == c.codecs[i].encode_bytes_per_s &&
			  found.codecs[i].decode_bytes_per_s == c.codecs[i].decode_bytes_per_s &&
			  found.codecs[i].ratio_permille == c.codecs[i].ratio_permille);
	}
	ck_assert_int_eq(cs_calibrate_load(disk, DEVICE + 1, &found), -E_NOENT);
	c.machine++;
	ck_assert_int_eq(cs_calibrate_store(disk, &c), 0);
	ck_assert_int_eq(cs_calibrate_load(disk, DEVICE, &found), -E_NOENT);
}
END_TEST

START_TEST(any_changed_byte_is_noticed)
{
	struct calibration c = example(), found;
	uint8_t bytes[CALIBRATION_BYTES];

	calibration_encode(&c, bytes);
	for (uint32_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= 4;
		ck_assert_int_lt(calibration_decode(bytes, &found), 0);
		bytes[i] ^= 4;
	}
	ck_assert_int_eq(calibration_decode(bytes, &found), 0);
}
END_TEST

/* `disk` and the small codec's decoding in MB/s; it stores two thirds. */
static enum codec_aim aim(uint64_t disk_mb, uint64_t decode_mb, uint32_t cores)
{
	struct calibration c = {.read_bytes_per_s = disk_mb * 1000000};

	c.codecs[CODEC_RAW] = (struct calibration_codec){0, 10000000000, 1000};
	c.codecs[CODEC_PLANES] = (struct calibration_codec){0, decode_mb * 1000000, 1500};
	return cs_calibrate_aim(&c, MEDIA_NVME, cores);
}

START_TEST(slow_disks_want_less_bytes_weak_processors_faster_ones)
{
	ck_assert_int_eq(aim(20, 300, 1), CODEC_AIM_SMALL);
	ck_assert_int_eq(aim(500, 1000, 2), CODEC_AIM_SMALL);
	ck_assert_int_eq(aim(3000, 300, 2), CODEC_AIM_FAST);
	ck_assert_int_eq(aim(3000, 300, 16), CODEC_AIM_SMALL);
	ck_assert_int_eq(aim(3000, 2800, 1), CODEC_AIM_SMALL); /* nearly as fast */
	ck_assert_int_eq(cs_calibrate_aim(NULL, MEDIA_ROTATING, 2), CODEC_AIM_SMALL);
	ck_assert_int_eq(cs_calibrate_aim(NULL, MEDIA_MEMORY, 2), CODEC_AIM_FAST);
}
END_TEST

START_TEST(a_real_disk_is_measured_and_left_as_it_was)
{
	struct calibration c = {0};
	struct disk_file *file;

	ck_assert_int_eq(cs_calibrate_disk(disk, loop, &c), 0);
	ck_assert(c.read_bytes_per_s > 0 && c.write_bytes_per_s > 0);
	ck_assert_int_eq(disk_open(disk, "calibration.data", DISK_READ, &file), -E_NOENT);
	ck_assert_int_eq(cs_calibrate_codecs(loop, &c), 0);
	for (uint32_t i = 0; i < CALIBRATION_CODECS; i++) {
		ck_assert_int_eq(c.codecs[i].decode_bytes_per_s > 0, codec_is_known(i));
		ck_assert(!codec_is_known(i) || c.codecs[i].ratio_permille >= 1000);
	}
}
END_TEST

TEST_MAIN("calibrate", tcase_add_checked_fixture(tc, begin, end);
	  tcase_add_test(tc, what_was_measured_comes_back);
	  tcase_add_test(tc, any_changed_byte_is_noticed);
	  tcase_add_test(tc, slow_disks_want_less_bytes_weak_processors_faster_ones);
	  tcase_add_test(tc, a_real_disk_is_measured_and_left_as_it_was))
