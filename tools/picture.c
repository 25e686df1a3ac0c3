/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels row by row; letters are dots of SCALE by SCALE pixels. See picture.h. */
#include "tools/picture.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "tools/font.h"

#define PIXEL_BYTES  3u
#define SCALE	     2u
#define LETTER_WIDTH (SCALE * (FONT_COLUMNS + 1u))
_Static_assert(PICTURE_TEXT_ROWS == SCALE * FONT_ROWS, "a line holds a letter");

int picture_init(struct picture *p, uint32_t width, uint32_t height)
{
	size_t bytes = (size_t)width * height * PIXEL_BYTES;

	*p = (struct picture){width, height, malloc(bytes)};
	if (!p->pixels)
		return -E_NOMEM;
	memset(p->pixels, 0xff, bytes);
	return 0;
}

void picture_finish(struct picture *p)
{
	free(p->pixels);
	p->pixels = NULL;
}

static uint8_t *row_of(const struct picture *p, uint32_t y)
{
	return p->pixels + (size_t)y * p->width * PIXEL_BYTES;
}

void picture_fill(struct picture *p, struct picture_area area, struct picture_colour colour)
{
	uint32_t x_end = MIN_OF(area.x + area.width, p->width);
	uint32_t y_end = MIN_OF(area.y + area.height, p->height);

	for (uint32_t y = area.y; y < y_end; y++)
		for (uint32_t x = area.x; x < x_end; x++)
			memcpy(row_of(p, y) + (size_t)x * PIXEL_BYTES, &colour, PIXEL_BYTES);
}

static void draw_letter(struct picture *p, uint32_t x, uint32_t y, struct picture_colour colour,
			char letter)
{
	for (uint32_t row = 0; row < FONT_ROWS; row++)
		for (uint32_t column = 0; column < FONT_COLUMNS; column++)
			if (font_has_dot(letter, column, row))
				picture_fill(p,
					     (struct picture_area){x + SCALE * column,
								   y + SCALE * row, SCALE, SCALE},
					     colour);
}

uint32_t picture_text(struct picture *p, uint32_t x, uint32_t y, struct picture_colour colour,
		      const char *text)
{
	for (; *text; text++, x += LETTER_WIDTH)
		draw_letter(p, x, y, colour, *text);
	return x;
}

uint32_t picture_text_width(const char *text)
{
	return (uint32_t)strlen(text) * LETTER_WIDTH;
}

/* --- PNG -------------------------------------------------------------------------------------- */

static void on_error(png_structp png, png_const_charp text unused_arg)
{
	longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png unused_arg, png_const_charp text unused_arg)
{
}

/* libpng leaves by longjmp: nothing that changes below it is used behind it. */
static int write_png(png_structp png, png_infop info, const struct picture *p,
		     const char *description)
{
	png_text text[2] = {
		{.compression = PNG_TEXT_COMPRESSION_NONE,
		 .key = (char *)(uintptr_t) "Software",
		 .text = (char *)(uintptr_t) "cairn"},
		{.compression = PNG_TEXT_COMPRESSION_NONE,
		 .key = (char *)(uintptr_t) "Description",
		 .text = (char *)(uintptr_t)description},
	};

	if (setjmp(png_jmpbuf(png)))
		return -E_IO;
	png_set_IHDR(png, info, p->width, p->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_set_text(png, info, text, ARRAY_COUNT(text));
	png_write_info(png, info);
	for (uint32_t y = 0; y < p->height; y++)
		png_write_row(png, row_of(p, y));
	png_write_end(png, NULL);
	return 0;
}

int picture_write(const struct picture *p, const char *description, FILE *f)
{
	png_structp png =
		png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	int rc = info ? 0 : -E_NOMEM;

	if (rc == 0) {
		png_init_io(png, f);
		rc = write_png(png, info, p, description);
	}
	png_destroy_write_struct(&png, &info);
	return rc;
}
