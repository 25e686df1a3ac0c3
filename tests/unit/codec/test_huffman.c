/* SPDX-License-Identifier: Apache-2.0 */
/* Huffman codes: any statistics come back, within the bound that was told; foreign bytes do not. */
#include "fs/codec/huffman.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "tests/check_main.h"

#define LEN_MAX HUFFMAN_BYTES_MAX

static uint8_t plain[LEN_MAX], stored[LEN_MAX + 4096], again_stored[LEN_MAX + 4096];
static uint8_t again[LEN_MAX + 64];
static uint64_t seed;

static uint32_t prng(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((seed >> 33) % below);
}

/* An assertion costs a system call: not one for each byte. */
static bool is_untouched(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != 0xee)
			return false;
	}
	return true;
}

static void setup(void)
{
	seed = 7;
}

/* Bytes `first` and up: each next one half as likely as the one before. */
static void fill_geometric(uint32_t len, unsigned first)
{
	for (uint32_t i = 0; i < len; i++) {
		unsigned value = first;

		while (value < 255 && prng(2) == 0)
			value++;
		plain[i] = (uint8_t)value;
	}
}

/* Symbol s as often as the s-th Fibonacci number: the deepest tree there is. */
static uint32_t fill_fibonacci(void)
{
	uint32_t len = 0, a = 1, b = 1;

	for (unsigned s = 0; len + a <= LEN_MAX; s++) {
		memset(plain + len, (int)s, a);
		len += a;
		uint32_t next = a + b;
		a = b;
		b = next;
	}
	for (uint32_t i = len - 1; i > 0; i--) {
		uint32_t other = prng(i + 1);
		uint8_t byte = plain[i];

		plain[i] = plain[other];
		plain[other] = byte;
	}
	return len;
}

static uint32_t encode(uint32_t len)
{
	uint32_t counts[HUFFMAN_SYMBOLS];
	struct huffman_lengths code;

	huffman_count(plain, len, counts);
	huffman_lengths_of(counts, &code);
	uint32_t bound = huffman_bound(counts, &code);
	uint32_t stored_len = 0;

	ck_assert_uint_le(bound, sizeof stored);
	for (enum cpu_level level = CPU_PLAIN; level <= cpu_level(); level++) {
		uint8_t *out = level == CPU_PLAIN ? stored : again_stored;
		struct wr w = wr_init(out, bound);

		memset(out, 0xee, sizeof stored);
		huffman_encode(level, &code, plain, len, &w);
		ck_assert(wr_ok(&w));
		ck_assert(is_untouched(out + bound, sizeof stored - bound));
		if (level == CPU_PLAIN)
			stored_len = (uint32_t)wr_len(&w);
		ck_assert_uint_eq(wr_len(&w), stored_len);
		ck_assert_int_eq(memcmp(out, stored, stored_len), 0);
	}
	return stored_len;
}

/* By a decoder that keeps no table, or that of another level would be used. */
static int decode_by(enum cpu_level level, const uint8_t *bytes, uint32_t stored_len, uint32_t len)
{
	struct huffman_decoder *d = huffman_decoder_create();
	struct rd r = rd_init(bytes, stored_len);

	ck_assert_ptr_nonnull(d);
	memset(again, 0xee, sizeof again);
	int rc = huffman_decode(level, d, &r, again, len);
	huffman_decoder_destroy(d);
	return rc;
}

/* By the kernels of every level, from memory that ends where the bytes do. */
static int decode(uint32_t stored_len, uint32_t len)
{
	uint8_t *foreign = malloc(stored_len);
	int first = 0;

	ck_assert_ptr_nonnull(foreign);
	memcpy(foreign, stored, stored_len);
	for (enum cpu_level level = CPU_PLAIN; level <= cpu_level(); level++) {
		int rc = decode_by(level, foreign, stored_len, len);

		ck_assert(is_untouched(again + len, sizeof again - len));
		if (level == CPU_PLAIN)
			first = rc;
		ck_assert_int_eq(rc, first);
		ck_assert(rc < 0 || memcmp(again, plain, len) == 0);
	}
	free(foreign);
	return first;
}

static uint32_t round_trip(uint32_t len)
{
	uint32_t stored_len = encode(len);

	ck_assert_int_eq(decode(stored_len, len), 0);
	return stored_len;
}

START_TEST(every_short_length_comes_back)
{
	fill_geometric(LEN_MAX, 0);
	plain[0] = 9;
	plain[1] = 1;
	for (uint32_t len = 2; len < 700; len++)
		(void)round_trip(len);
}
END_TEST

START_TEST(every_alphabet_comes_back)
{
	for (unsigned symbols = 2; symbols <= 256; symbols++) {
		uint32_t len = 1000 + prng(4000);

		for (uint32_t i = 0; i < len; i++)
			plain[i] = (uint8_t)(255 - (i < symbols ? i : prng(symbols)));
		(void)round_trip(len);
	}
}
END_TEST

START_TEST(a_whole_block_takes_what_its_statistics_say)
{
	fill_geometric(LEN_MAX, 100);
	uint32_t len = round_trip(LEN_MAX);	/* two bits each */

	ck_assert_uint_gt(len, LEN_MAX / 4 - 500);
	ck_assert_uint_lt(len, LEN_MAX / 4 + 500);
}
END_TEST

START_TEST(two_symbols_take_a_bit_each)
{
	for (uint32_t i = 0; i < LEN_MAX; i++)
		plain[i] = prng(1000) == 0 ? 0xff : 0;
	ck_assert_uint_le(round_trip(LEN_MAX), LEN_MAX / 8 + 200);
}
END_TEST

START_TEST(the_deepest_tree_is_cut_and_comes_back)
{
	uint32_t counts[HUFFMAN_SYMBOLS];
	struct huffman_lengths code;
	uint32_t len = fill_fibonacci(), filled = 0;

	huffman_count(plain, len, counts);
	huffman_lengths_of(counts, &code);
	for (unsigned s = 0; s < HUFFMAN_SYMBOLS; s++) {
		ck_assert_uint_le(code.of[s], HUFFMAN_BITS_MAX);
		filled += code.of[s] ? 1u << (HUFFMAN_BITS_MAX - code.of[s]) : 0;
	}
	ck_assert_uint_eq(filled, 1u << HUFFMAN_BITS_MAX);
	(void)round_trip(len);
}
END_TEST

START_TEST(what_changes_in_the_middle_comes_back)
{
	/* Streams of very different lengths. */
	for (uint32_t i = 0; i < LEN_MAX; i++)
		plain[i] = i < LEN_MAX / 3 ? 0 : (uint8_t)prng(256);
	(void)round_trip(LEN_MAX);
	for (uint32_t i = 0; i < LEN_MAX; i++)
		plain[i] = i > LEN_MAX - 100 ? (uint8_t)prng(256) : 0;
	(void)round_trip(LEN_MAX);
}
END_TEST

START_TEST(tables_of_several_codes_live_side_by_side)
{
	static uint8_t kept[9][LEN_MAX], wanted[9][5000];
	struct huffman_decoder *d = huffman_decoder_create();
	uint32_t lens[9];

	for (unsigned i = 0; i < 9; i++) {
		fill_geometric(5000, 20 * i);
		lens[i] = encode(5000);
		memcpy(kept[i], stored, lens[i]);
		memcpy(wanted[i], plain, 5000);
	}
	for (unsigned turn = 0; turn < 200; turn++) {
		unsigned i = prng(turn < 100 ? 3 : 9);

		struct rd r = rd_init(kept[i], lens[i]);

		ck_assert_int_eq(huffman_decode(cpu_level(), d, &r, again, 5000), 0);
		ck_assert_int_eq(memcmp(again, wanted[i], 5000), 0);
	}
	huffman_decoder_destroy(d);
}
END_TEST

START_TEST(a_code_that_is_not_complete_is_malformed)
{
	fill_geometric(3000, 10);
	uint32_t len = encode(3000);
	uint32_t symbols = stored[1] - stored[0] + 1u;

	for (uint32_t i = 0; i < DIV_CEIL(symbols, 2); i++) {
		uint8_t byte = stored[2 + i];

		stored[2 + i] = 0xff;
		ck_assert_int_eq(decode(len, 3000), -E_MALFORMED);
		stored[2 + i] = byte;
	}
	stored[0] = stored[1];
	ck_assert_int_eq(decode(len, 3000), -E_MALFORMED);
}
END_TEST

START_TEST(other_lengths_are_malformed)
{
	fill_geometric(3000, 10);
	uint32_t len = encode(3000);

	for (uint32_t cut = 0; cut < len; cut++)
		ck_assert_int_eq(decode(cut, 3000), -E_MALFORMED);
	ck_assert_int_eq(decode(len + 1, 3000), -E_MALFORMED);
	ck_assert_int_eq(decode(len, 2990), -E_MALFORMED);
	ck_assert_int_eq(decode(len, 3010), -E_MALFORMED);
	ck_assert_int_eq(decode(len, 1), -E_MALFORMED);
}
END_TEST

/* Whatever the bytes are, the levels agree and stay in their bounds: decode() looks. */
START_TEST(changed_bytes_stay_in_bounds)
{
	for (unsigned turn = 0; turn < 300; turn++) {
		uint32_t len = 2 + prng(20000);

		fill_geometric(len, prng(200));
		plain[0] = (uint8_t)(plain[len - 1] + 1);
		uint32_t stored_len = encode(len);

		for (unsigned i = 0; i < 1 + turn % 3; i++) {
			uint32_t at = prng(turn % 2 ? MIN_OF(stored_len, 40u) : stored_len);

			stored[at] = (uint8_t)(stored[at] ^ 1u << prng(8));
		}
		static uint8_t by_plain[LEN_MAX + 64];
		int first = 0;

		for (enum cpu_level level = CPU_PLAIN; level <= cpu_level(); level++) {
			int rc = decode_by(level, stored, stored_len, len);

			ck_assert(rc == 0 || rc == -E_MALFORMED);
			ck_assert(is_untouched(again + len, sizeof again - len));
			if (level == CPU_PLAIN) {
				first = rc;
				memcpy(by_plain, again, sizeof again);
			}
			ck_assert_int_eq(rc, first);
			ck_assert(rc < 0 || memcmp(by_plain, again, len) == 0);
		}
	}
}
END_TEST

TEST_MAIN("huffman",
	  tcase_add_checked_fixture(tc, setup, NULL);
	  tcase_add_test(tc, every_short_length_comes_back);
	  tcase_add_test(tc, every_alphabet_comes_back);
	  tcase_add_test(tc, a_whole_block_takes_what_its_statistics_say);
	  tcase_add_test(tc, two_symbols_take_a_bit_each);
	  tcase_add_test(tc, the_deepest_tree_is_cut_and_comes_back);
	  tcase_add_test(tc, what_changes_in_the_middle_comes_back);
	  tcase_add_test(tc, tables_of_several_codes_live_side_by_side);
	  tcase_add_test(tc, a_code_that_is_not_complete_is_malformed);
	  tcase_add_test(tc, other_lengths_are_malformed);
	  tcase_add_test(tc, changed_bytes_stay_in_bounds))
