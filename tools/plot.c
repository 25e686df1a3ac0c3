/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In a picture each band is a file: its bars stand on the line, as high as what is left after
 * encoding, full height for all of it. Grey raw, blue lz4, green zstd, orange nibble, violet
 * planes: of the codec that most of the column has. What is shared is pale, at the foot of the
 * bar. Marks below the line: tensors begin. cairn-analyze(1) says so as well.
 */
#include "tools/plot.h"

#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#define BAND_HEIGHT 128u
#define MARK_HEIGHT 6u
#define GAP	    18u
#define BAND_ROWS   (BAND_HEIGHT + MARK_HEIGHT + GAP)
#define WIDTH	    ANALYZE_COLUMNS
#define GRID_LINES  4u /* 25, 50, 75, 100 % */

struct colour {
	uint8_t red, green, blue;
};

static const struct colour COLOURS[ANALYZE_CODECS] = {
	[CODEC_RAW] = {0x8c, 0x8c, 0x8c},    [CODEC_LZ4] = {0x3b, 0x78, 0xc2},
	[CODEC_ZSTD] = {0x3a, 0x9a, 0x4e},   [CODEC_NIBBLE] = {0xe0, 0x8a, 0x1e},
	[CODEC_PLANES] = {0x7d, 0x4f, 0xb5},
};
static const struct colour WHITE = {0xff, 0xff, 0xff}, GRID = {0xe0, 0xe0, 0xe0},
			   BLACK = {0x20, 0x20, 0x20};

static const char LEGEND[] =
	"Height: what is left after encoding, of all. Grey raw, blue lz4, green zstd, orange "
	"nibble, violet planes; pale: shared. Marks: tensors begin.";

static uint32_t main_codec(const struct analyze_column *c)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < ANALYZE_CODECS; i++)
		if (c->codecs[i] > c->codecs[best])
			best = i;
	return best;
}

static struct colour pale(struct colour c)
{
	return (struct colour){(uint8_t)(c.red / 3 + 170), (uint8_t)(c.green / 3 + 170),
			       (uint8_t)(c.blue / 3 + 170)};
}

/* Of `room`, how much is part/whole? Records have headers: never more than all. */
static uint32_t share_of(uint64_t part, uint64_t whole, uint32_t room)
{
	return whole ? (uint32_t)MIN_OF((double)part / (double)whole * room + 0.5, (double)room)
		     : 0;
}

/* --- text ------------------------------------------------------------------------------------- */

static const char *const BARS[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

/* Columns [from, to) as one. */
static struct analyze_column merged(const struct analysis *a, uint32_t from, uint32_t to)
{
	struct analyze_column sum = {.plain = 0};

	for (uint32_t i = from; i < to; i++) {
		sum.plain += a->columns[i].plain;
		sum.encoded += a->columns[i].encoded;
		sum.shared += a->columns[i].shared;
	}
	return sum;
}

void plot_text(const struct analysis *a, uint32_t width, FILE *out)
{
	uint32_t columns = MIN_OF(width, a->column_count);
	static const char *const NAMES[] = {"left", "shared"};

	for (uint32_t line = 0; line < ARRAY_COUNT(NAMES) && a->total.plain > 0; line++) {
		if (line == 1 && a->total.shared == 0)
			break;
		fprintf(out, "  %-7s|", NAMES[line]);
		for (uint32_t i = 0; i < columns; i++) {
			struct analyze_column c = merged(a, i * a->column_count / columns,
							 (i + 1) * a->column_count / columns);

			fputs(BARS[share_of(line ? c.shared : c.encoded, c.plain, 8)], out);
		}
		fputs("|\n", out);
	}
}

/* --- PNG -------------------------------------------------------------------------------------- */

static void set(uint8_t *row, uint32_t x, struct colour c)
{
	memcpy(row + 3 * (size_t)x, &c, 3);
}

/* Row `y` of a band, counted from its top. */
static void draw_row(const struct plot_file *file, uint32_t y, uint8_t *row)
{
	uint32_t height = BAND_HEIGHT - y; /* above the line */
	bool is_grid = y < BAND_HEIGHT && y % (BAND_HEIGHT / GRID_LINES) == 0;

	for (uint32_t x = 0; x < WIDTH; x++) {
		const struct analyze_column *c = &file->columns[x * file->column_count / WIDTH];
		bool is_first = x == 0 || (x - 1) * file->column_count / WIDTH !=
						  x * file->column_count / WIDTH;
		struct colour colour = COLOURS[main_codec(c)];

		set(row, x, is_grid ? GRID : WHITE);
		if (y == BAND_HEIGHT || (y > BAND_HEIGHT && y <= BAND_HEIGHT + MARK_HEIGHT &&
					 c->starts_tensor && is_first))
			set(row, x, BLACK);
		else if (y < BAND_HEIGHT && height <= share_of(c->encoded, c->plain, BAND_HEIGHT))
			set(row, x,
			    height <= share_of(c->shared, c->plain,
					       share_of(c->encoded, c->plain, BAND_HEIGHT))
				    ? pale(colour)
				    : colour);
	}
}

static void on_error(png_structp png, png_const_charp text unused_arg)
{
	longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png unused_arg, png_const_charp text unused_arg)
{
}

/* libpng leaves by longjmp: nothing that changes below it is used behind it. */
static int write_png(png_structp png, png_infop info, const struct plot_file *files, uint32_t count,
		     uint8_t *row)
{
	png_text text[2] = {
		{.compression = PNG_TEXT_COMPRESSION_NONE,
		 .key = (char *)(uintptr_t) "Software",
		 .text = (char *)(uintptr_t) "cairn analyze"},
		{.compression = PNG_TEXT_COMPRESSION_NONE,
		 .key = (char *)(uintptr_t) "Description",
		 .text = (char *)(uintptr_t)LEGEND},
	};

	if (setjmp(png_jmpbuf(png)))
		return -E_IO;
	png_set_IHDR(png, info, WIDTH, count * BAND_ROWS, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_set_text(png, info, text, ARRAY_COUNT(text));
	png_write_info(png, info);
	for (uint32_t y = 0; y < count * BAND_ROWS; y++) {
		draw_row(&files[y / BAND_ROWS], y % BAND_ROWS, row);
		png_write_row(png, row);
	}
	png_write_end(png, NULL);
	return 0;
}

static int write_file(const struct plot_file *files, uint32_t count, FILE *f)
{
	png_structp png =
		png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_error, on_warning);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	uint8_t *row = malloc(3 * (size_t)WIDTH);
	int rc = info && row ? 0 : -E_NOMEM;

	if (rc == 0) {
		png_init_io(png, f);
		rc = write_png(png, info, files, count, row);
	}
	png_destroy_write_struct(&png, &info);
	free(row);
	return rc;
}

int plot_png(const struct plot_file *files, uint32_t count, const char *path, struct error *err)
{
	FILE *f = fopen(path, "wbe");
	int rc;

	if (!f)
		return error_set(err, error_from_errno(errno), "cannot write '%s'", path);
	rc = write_file(files, count, f);
	if (fclose(f) != 0 && rc == 0)
		rc = error_from_errno(errno);
	return rc < 0 ? error_set(err, rc, "cannot write '%s'", path) : 0;
}
