/* SPDX-License-Identifier: Apache-2.0 */
/* The superblock: comes back whole; the unknown is refused by kind. */
#include "fs/disk/super.h"

#include <string.h>

#include "fs/disk/sealed.h"
#include "tests/check_main.h"

static uint8_t bytes[SUPER_BYTES];
static const struct super sample = {
	.role = SUPER_CHUNK,
	.hash = HASH_SHA3_256,
	.copies = 3,
	.min_copies = 2,
	.cluster = "cluster-cluster",
	.directory = "directory-direc",
	.server = "server-server-s",
	.compat = 1,
	.ro_compat = 2,
	.incompat = SUPER_INCOMPAT_ACL,
	.made_ns = 1700000000,
	.name_key = UINT64_C(0xfedcba9876543210),
};

/* The code that a superblock gets whose byte at `offset` is `value`, sealed again. */
static int decode_with(size_t offset, uint8_t value)
{
	struct super found;

	super_encode(&sample, bytes);
	bytes[offset] = value;
	sealed_finish(bytes, sizeof(bytes));
	return super_decode(bytes, &found);
}

START_TEST(a_superblock_comes_back)
{
	struct super found;

	memset(&found, 0, sizeof(found));
	super_encode(&sample, bytes);
	ck_assert_mem_eq(bytes, "CAIRNFS1\x01\0\x02\x02\x03\x02\0\0" "cluster-", 24);
	ck_assert_mem_eq(bytes + 88, sample.server, 16);
	ck_assert_int_eq(super_decode(bytes, &found), 0);
	ck_assert_int_eq(found.role, SUPER_CHUNK);
	ck_assert_int_eq(found.hash, HASH_SHA3_256);
	ck_assert_uint_eq(found.copies, 3);
	ck_assert_uint_eq(found.min_copies, 2);
	ck_assert_mem_eq(found.cluster, sample.cluster, 16);
	ck_assert_mem_eq(found.directory, sample.directory, 16);
	ck_assert_mem_eq(found.server, sample.server, 16);
	ck_assert_uint_eq(found.compat, 1);
	ck_assert_uint_eq(found.ro_compat, 2);
	ck_assert_uint_eq(found.incompat, 1);
	ck_assert_uint_eq(found.made_ns, sample.made_ns);
	ck_assert_uint_eq(found.name_key, sample.name_key);
}
END_TEST

START_TEST(every_damaged_byte_is_noticed)
{
	struct super found;

	super_encode(&sample, bytes);
	for (size_t i = 0; i < SUPER_BYTES; i++) {
		bytes[i] ^= 0x80;
		ck_assert_int_eq(super_decode(bytes, &found), i < 8 ? -E_BAD_MAGIC : -E_CORRUPT);
		bytes[i] ^= 0x80;
	}
}
END_TEST

START_TEST(fields_out_of_bounds_are_malformed)
{
	ck_assert_int_eq(decode_with(10, SUPER_METADATA), 0);
	ck_assert_int_eq(decode_with(10, 0), -E_MALFORMED);
	ck_assert_int_eq(decode_with(10, 3), -E_MALFORMED);
	ck_assert_int_eq(decode_with(11, 0), -E_MALFORMED);
	ck_assert_int_eq(decode_with(11, 3), -E_MALFORMED);
	ck_assert_int_eq(decode_with(12, 1), -E_MALFORMED); /* fewer than min copies */
	ck_assert_int_eq(decode_with(12, COPIES_MAX), 0);
	ck_assert_int_eq(decode_with(12, COPIES_MAX + 1), -E_MALFORMED);
	ck_assert_int_eq(decode_with(13, 0), -E_MALFORMED);
	ck_assert_int_eq(decode_with(14, 1), -E_MALFORMED);
	ck_assert_int_eq(decode_with(104, 1), -E_MALFORMED);
	ck_assert_int_eq(decode_with(4087, 1), -E_MALFORMED);
}
END_TEST

START_TEST(the_future_is_refused_by_kind)
{
	ck_assert_int_eq(decode_with(8, 2), -E_WRONG_VERSION);
	ck_assert_int_eq(decode_with(64, 2), -E_FEATURE);
	ck_assert_int_eq(decode_with(71, 0x80), -E_FEATURE);
	ck_assert_int_eq(decode_with(48, 0xff), 0); /* compat: whoever does not know may go on */
}
END_TEST

TEST_MAIN("super",
	  tcase_add_test(tc, a_superblock_comes_back);
	  tcase_add_test(tc, every_damaged_byte_is_noticed);
	  tcase_add_test(tc, fields_out_of_bounds_are_malformed);
	  tcase_add_test(tc, the_future_is_refused_by_kind))
