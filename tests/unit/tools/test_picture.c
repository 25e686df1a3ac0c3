/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures: letters that can be told apart, and nothing drawn outside. */
#include <check.h>
#include <string.h>

#include "tests/check_main.h"
#include "tools/font.h"
#include "tools/picture.h"

static const struct picture_colour INK = {0, 0, 0};

/* One bit for each dot. */
static uint64_t dots_of(char letter)
{
	uint64_t dots = 0;

	for (uint32_t row = 0; row < FONT_ROWS; row++)
		for (uint32_t column = 0; column < FONT_COLUMNS; column++)
			dots = dots << 1 | font_has_dot(letter, column, row);
	return dots;
}

START_TEST(letters_differ)
{
	ck_assert_uint_eq(dots_of(' '), 0);
	for (char a = '!'; a <= '~'; a++)
		for (char b = ' '; b < a; b++)
			ck_assert_msg(dots_of(a) != dots_of(b), "%c looks like %c", a, b);
}
END_TEST

START_TEST(what_is_no_letter_is_a_question_mark)
{
	ck_assert_uint_eq(dots_of('\n'), dots_of('?'));
	ck_assert_uint_eq(dots_of('\x7f'), dots_of('?'));
	ck_assert_uint_eq(dots_of((char)0xc3), dots_of('?'));
}
END_TEST

static uint32_t dark_pixels(const struct picture *p)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < p->width * p->height; i++)
		count += p->pixels[3 * (size_t)i] == 0;
	return count;
}

START_TEST(nothing_is_drawn_outside)
{
	struct picture p;

	ck_assert_int_eq(picture_init(&p, 20, 10), 0);
	ck_assert_uint_eq(dark_pixels(&p), 0);
	picture_fill(&p, (struct picture_area){15, 8, 100, 100}, INK);
	ck_assert_uint_eq(dark_pixels(&p), 5 * 2);
	picture_fill(&p, (struct picture_area){20, 10, 1, 1}, INK);
	ck_assert_uint_eq(dark_pixels(&p), 5 * 2);
	ck_assert_uint_eq(picture_text(&p, 3, 4, INK, "wide"), 3 + picture_text_width("wide"));
	ck_assert_uint_gt(dark_pixels(&p), 5 * 2);
	picture_finish(&p);
	picture_finish(&p);
}
END_TEST

TEST_MAIN("picture", tcase_add_test(tc, letters_differ);
	  tcase_add_test(tc, what_is_no_letter_is_a_question_mark);
	  tcase_add_test(tc, nothing_is_drawn_outside))
