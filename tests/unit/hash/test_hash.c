/* SPDX-License-Identifier: Apache-2.0 */
/* Block ids and checksums against published vectors. */
#include "fs/hash/block_id.h"
#include "fs/hash/checksum.h"

#include <string.h>

#include "tests/check_main.h"

static struct block_id id_of_hex(const char *hex)
{
	struct block_id id;

	ck_assert_int_eq(block_id_parse(hex, &id), 0);
	return id;
}

static void check_digest(enum hash_kind kind, const char *bytes, const char *hex)
{
	char found[BLOCK_ID_HEX_BYTES];
	struct block_id id;

	block_id_of(kind, bytes, strlen(bytes), &id);
	ck_assert_str_eq(block_id_hex(&id, found), hex);
}

START_TEST(sha256_is_that_of_fips_180)
{
	check_digest(HASH_SHA256, "",
		     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	check_digest(HASH_SHA256, "abc",
		     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	check_digest(HASH_SHA256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}
END_TEST

START_TEST(sha3_256_is_that_of_fips_202)
{
	check_digest(HASH_SHA3_256, "",
		     "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a");
	check_digest(HASH_SHA3_256, "abc",
		     "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
}
END_TEST

START_TEST(zero_is_only_the_id_of_all_zeros)
{
	struct block_id id = {{0}};

	ck_assert(block_id_is_zero(&id));
	for (size_t i = 0; i < BLOCK_ID_BYTES; i++) {
		id.bytes[i] = 1;
		ck_assert(!block_id_is_zero(&id));
		id.bytes[i] = 0;
	}
}
END_TEST

START_TEST(ids_compare_as_their_hex_does)
{
	struct block_id low = id_of_hex(
		"00000000000000000000000000000000000000000000000000000000000000ff");
	struct block_id high = id_of_hex(
		"8000000000000000000000000000000000000000000000000000000000000000");

	ck_assert_int_lt(block_id_compare(&low, &high), 0);
	ck_assert_int_gt(block_id_compare(&high, &low), 0);
	ck_assert_int_eq(block_id_compare(&low, &low), 0);
	ck_assert(block_id_equal(&high, &high));
	ck_assert(!block_id_equal(&low, &high));
}
END_TEST

START_TEST(the_placement_group_is_the_first_12_bits)
{
	struct block_id id = id_of_hex(
		"abcdef0000000000000000000000000000000000000000000000000000000000");

	ck_assert_uint_eq(block_id_pg(&id), 0xabc);
	memset(id.bytes, 0xff, sizeof(id.bytes));
	ck_assert_uint_eq(block_id_pg(&id), PG_COUNT - 1);
	memset(id.bytes, 0, sizeof(id.bytes));
	ck_assert_uint_eq(block_id_pg(&id), 0);
}
END_TEST

START_TEST(what_is_not_64_hex_digits_is_no_id)
{
	char hex[BLOCK_ID_HEX_BYTES + 1];
	struct block_id id;

	memset(hex, 'a', sizeof(hex));
	hex[64] = '\0';
	ck_assert_int_eq(block_id_parse(hex, &id), 0);
	hex[63] = '\0';
	ck_assert_int_eq(block_id_parse(hex, &id), -E_INVAL);
	hex[63] = hex[64] = 'a';
	hex[65] = '\0';
	ck_assert_int_eq(block_id_parse(hex, &id), -E_INVAL);
	hex[64] = '\0';
	hex[5] = 'g';
	ck_assert_int_eq(block_id_parse(hex, &id), -E_INVAL);
	ck_assert_int_eq(block_id_parse("", &id), -E_INVAL);
}
END_TEST

/* Values of xxhsum 0.8 -H3. */
START_TEST(checksums_are_xxh3_64)
{
	ck_assert_uint_eq(checksum_of("", 0), UINT64_C(0x2d06800538d394c2));
	ck_assert_uint_eq(checksum_of("abc", 3), UINT64_C(0x78af5f94892f3950));
	ck_assert_uint_eq(checksum_seeded("abc", 3, 0), checksum_of("abc", 3));
	ck_assert_uint_ne(checksum_seeded("abc", 3, 1), checksum_of("abc", 3));
}
END_TEST

START_TEST(joined_is_the_checksum_of_both_in_a_row)
{
	uint8_t bytes[1000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	for (size_t cut = 0; cut <= sizeof(bytes); cut += 50)
		ck_assert_uint_eq(
			checksum_joined(bytes, cut, bytes + cut, sizeof(bytes) - cut),
			checksum_of(bytes, sizeof(bytes)));
}
END_TEST

START_TEST(name_hashes_are_63_bits_and_leave_room_for_the_dots)
{
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t hash = checksum_name(7, &i, sizeof(i));
		ck_assert_uint_ge(hash, 3);
		ck_assert_uint_le(hash, INT64_MAX);
	}
	ck_assert_uint_ne(checksum_name(1, "model", 5), checksum_name(2, "model", 5));
	ck_assert_uint_eq(checksum_name(1, "model", 5), checksum_name(1, "model", 5));
}
END_TEST

TEST_MAIN("hash",
	  tcase_add_test(tc, sha256_is_that_of_fips_180);
	  tcase_add_test(tc, sha3_256_is_that_of_fips_202);
	  tcase_add_test(tc, zero_is_only_the_id_of_all_zeros);
	  tcase_add_test(tc, ids_compare_as_their_hex_does);
	  tcase_add_test(tc, the_placement_group_is_the_first_12_bits);
	  tcase_add_test(tc, what_is_not_64_hex_digits_is_no_id);
	  tcase_add_test(tc, checksums_are_xxh3_64);
	  tcase_add_test(tc, joined_is_the_checksum_of_both_in_a_row);
	  tcase_add_test(tc, name_hashes_are_63_bits_and_leave_room_for_the_dots))
