/* SPDX-License-Identifier: Apache-2.0 */
/* Growable text and the forms of numbers. */
#include "fs/base/text.h"

#include <string.h>

#include "tests/check_main.h"

START_TEST(text_grows_up_to_its_maximum)
{
	struct text t;

	text_init(&t, 101);
	ck_assert_str_eq(text_chars(&t), "");
	for (int i = 0; i < 10; i++)
		text_addf(&t, "%d%s", i, "234567890");
	ck_assert(!t.failed);
	ck_assert_uint_eq(t.len, 100);
	text_add(&t, "");
	ck_assert(!t.failed);
	text_add(&t, "x");
	ck_assert(t.failed);
	ck_assert_uint_eq(strlen(text_chars(&t)), 100);
	text_finish(&t);
	text_finish(&t);
}
END_TEST

START_TEST(a_failed_text_stays_failed)
{
	struct text t;

	text_init(&t, 4);
	text_add(&t, "too long");
	text_add(&t, "a");
	text_addf(&t, "%d", 1);
	ck_assert(t.failed);
	ck_assert_str_eq(text_chars(&t), "");
	text_finish(&t);
}
END_TEST

static void check_human(uint64_t bytes, const char *expected)
{
	char human[TEXT_BYTES_HUMAN];

	ck_assert_str_eq(text_bytes_human(human, bytes), expected);
}

static void check_printable(const char *text, const char *expected)
{
	char copy[64];

	ck_assert(text_copy(copy, sizeof copy, text));
	ck_assert_str_eq(text_printable(copy), expected);
}

START_TEST(foreign_text_is_fit_for_a_terminal)
{
	check_printable("", "");
	check_printable("plain / text ~", "plain / text ~");
	check_printable("a\nb\tc\x7f", "a?b?c?");
	check_printable("\x1b[31mred", "?[31mred");
	check_printable("Gr\xc3\xb6\xc3\x9f" "e", "Gr\xc3\xb6\xc3\x9f" "e");
	check_printable("\xc2\x9b" "31m \xc2\xa0", "??31m \xc2\xa0");
	check_printable("cut \xc2", "cut \xc2");
}
END_TEST

START_TEST(sizes_for_people)
{
	check_human(0, "0 B");
	check_human(1023, "1023 B");
	check_human(1024, "1.0 KiB");
	check_human(1536, "1.5 KiB");
	check_human(MiB(1) - 1, "1023.9 KiB");
	check_human(GiB(3) / 2, "1.5 GiB");
	check_human(UINT64_MAX, "15.9 EiB");
}
END_TEST

START_TEST(sizes_from_people)
{
	static const struct {
		const char *s;
		int rc;
		uint64_t bytes;
	} cases[] = {
		{"0", 0, 0},
		{"64", 0, 64},
		{"64B", 0, 64},
		{"64k", 0, 65536},
		{"64KiB", 0, 65536},
		{"64KB", 0, 65536},
		{"1.5G", 0, GiB(3) / 2},
		{"2T", 0, GiB(2048)},
		{"0.5k", 0, 512},
		{"15E", 0, UINT64_C(15) << 60},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -E_RANGE, 0},
		{"16E", -E_RANGE, 0},
		{"", -E_INVAL, 0},
		{"k", -E_INVAL, 0},
		{"-1", -E_INVAL, 0},
		{" 1", -E_INVAL, 0},
		{"1 k", -E_INVAL, 0},
		{"1.", -E_INVAL, 0},
		{".5k", -E_INVAL, 0},
		{"1.5", -E_INVAL, 0},
		{"1.2345k", -E_INVAL, 0},
		{"1iB", -E_INVAL, 0},
		{"1KiBs", -E_INVAL, 0},
		{"0x10", -E_INVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		uint64_t bytes = 0;
		ck_assert_msg(text_parse_bytes(cases[i].s, &bytes) == cases[i].rc, "%s",
			      cases[i].s);
		if (cases[i].rc == 0)
			ck_assert_uint_eq(bytes, cases[i].bytes);
	}
}
END_TEST

START_TEST(times_from_people)
{
	uint64_t ms;

	ck_assert_int_eq(text_parse_ms("500", &ms), 0);
	ck_assert_uint_eq(ms, 500);
	ck_assert_int_eq(text_parse_ms("10s", &ms), 0);
	ck_assert_uint_eq(ms, 10000);
	ck_assert_int_eq(text_parse_ms("2h", &ms), 0);
	ck_assert_uint_eq(ms, 7200000);
	ck_assert_int_eq(text_parse_ms("5m", &ms), -E_INVAL);	/* minutes, or ms? */
	ck_assert_int_eq(text_parse_ms("s", &ms), -E_INVAL);
	ck_assert_int_eq(text_parse_ms("18446744073709551615s", &ms), -E_RANGE);
}
END_TEST

START_TEST(numbers_are_whole_and_bounded)
{
	uint64_t v;

	ck_assert_int_eq(text_parse_u64("18446744073709551615", &v), 0);
	ck_assert_uint_eq(v, UINT64_MAX);
	ck_assert_int_eq(text_parse_u64("18446744073709551616", &v), -E_RANGE);
	ck_assert_int_eq(text_parse_u64("12x", &v), -E_INVAL);
	ck_assert_int_eq(text_parse_u64("", &v), -E_INVAL);
	ck_assert_int_eq(text_parse_u64("+1", &v), -E_INVAL);
}
END_TEST

START_TEST(hex_there_and_back)
{
	uint8_t bytes[3];
	char hex[7];

	ck_assert_int_eq(text_parse_hex("00aBff", bytes, 3), 0);
	text_hex(hex, bytes, 3);
	ck_assert_str_eq(hex, "00abff");
	ck_assert_int_eq(text_parse_hex("00abf", bytes, 3), -E_INVAL);
	ck_assert_int_eq(text_parse_hex("00abfff", bytes, 3), -E_INVAL);
	ck_assert_int_eq(text_parse_hex("00abfg", bytes, 3), -E_INVAL);
	ck_assert_int_eq(text_parse_hex("", bytes, 0), 0);
}
END_TEST

START_TEST(a_copy_is_always_terminated)
{
	char out[4];

	ck_assert(text_copy(out, sizeof(out), "abc"));
	ck_assert_str_eq(out, "abc");
	ck_assert(!text_copy(out, sizeof(out), "abcd"));
	ck_assert_str_eq(out, "abc");
	ck_assert(text_copy(out, 1, ""));
	ck_assert(!text_copy(out, 1, "a"));
	ck_assert_str_eq(out, "");
}
END_TEST

TEST_MAIN("text",
	  tcase_add_test(tc, text_grows_up_to_its_maximum);
	  tcase_add_test(tc, a_failed_text_stays_failed);
	  tcase_add_test(tc, foreign_text_is_fit_for_a_terminal);
	  tcase_add_test(tc, sizes_for_people);
	  tcase_add_test(tc, sizes_from_people);
	  tcase_add_test(tc, times_from_people);
	  tcase_add_test(tc, numbers_are_whole_and_bounded);
	  tcase_add_test(tc, hex_there_and_back);
	  tcase_add_test(tc, a_copy_is_always_terminated))
