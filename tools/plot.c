/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A picture has a legend, and below it a band for each file: its name, bars as high as what is left
 * after encoding, in the colour of the codec that most of the column has, what is shared pale at
 * their foot, marks where tensors begin, and offsets.
 */
#include "tools/plot.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "fs/base/text.h"
#include "tools/picture.h"

#define MARGIN	    12u /* pixels, all of these */
#define LEFT	    84u /* of the bars; "100 %" stands beside them */
#define WIDTH	    ANALYZE_COLUMNS
#define BAR_HEIGHT  128u
#define MARK_HEIGHT 6u
#define LINE_HEIGHT (PICTURE_TEXT_ROWS + 6u)
#define BAND_HEIGHT (LINE_HEIGHT + BAR_HEIGHT + MARK_HEIGHT + LINE_HEIGHT + 2 * MARGIN)
#define HEAD_HEIGHT (2 * LINE_HEIGHT + 2 * MARGIN)
#define SWATCH	    14u
#define GRID_LINES  4u	/* 25, 50, 75, 100 % */
#define NAME_SHOWN  44u /* letters; its end tells more than its begin */

static const struct picture_colour COLOURS[ANALYZE_CODECS] = {
	[CODEC_RAW] = {0x8c, 0x8c, 0x8c},    [CODEC_LZ4] = {0x3b, 0x78, 0xc2},
	[CODEC_ZSTD] = {0x3a, 0x9a, 0x4e},   [CODEC_NIBBLE] = {0xe0, 0x8a, 0x1e},
	[CODEC_PLANES] = {0x7d, 0x4f, 0xb5},
};
static const struct picture_colour GRID = {0xe0, 0xe0, 0xe0}, BLACK = {0x20, 0x20, 0x20};

static const char TITLE[] =
	"What is left after encoding, from the beginning of each file to its end";

static uint32_t main_codec(const struct analyze_column *c)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < ANALYZE_CODECS; i++)
		if (c->codecs[i] > c->codecs[best])
			best = i;
	return best;
}

static struct picture_colour pale(struct picture_colour c)
{
	return (struct picture_colour){(uint8_t)(c.red / 3 + 170), (uint8_t)(c.green / 3 + 170),
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

/* Words that end at `x`. */
static void text_before(struct picture *p, uint32_t x, uint32_t y, const char *text)
{
	(void)picture_text(p, x - MIN_OF(picture_text_width(text), x), y, BLACK, text);
}

/* A bar of `count` equal ones, from the line up: pale as far as it is shared. */
static void draw_column(struct picture *p, const struct plot_file *file, uint32_t i, uint32_t line)
{
	const struct analyze_column *c = &file->columns[i];
	struct picture_colour colour = COLOURS[main_codec(c)];
	uint32_t x = LEFT + i * WIDTH / file->column_count;
	uint32_t width = LEFT + (i + 1) * WIDTH / file->column_count - x;
	uint32_t left = share_of(c->encoded, c->plain, BAR_HEIGHT);
	uint32_t shared = share_of(c->shared, c->plain, left);

	picture_fill(p, (struct picture_area){x, line - left, width, left}, colour);
	picture_fill(p, (struct picture_area){x, line - shared, width, shared}, pale(colour));
	if (c->starts_tensor)
		picture_fill(p, (struct picture_area){x, line, 1, MARK_HEIGHT}, BLACK);
}

/* Its name, how large it is, and what becomes of that. */
static void draw_heading(struct picture *p, const struct plot_file *file, uint32_t y)
{
	char name[NAME_SHOWN + 1], figures[128], human[TEXT_BYTES_HUMAN];
	struct analyze_sums s = file->total;
	size_t len = strlen(file->name);

	(void)text_copy(name, sizeof name, file->name + (len > NAME_SHOWN ? len - NAME_SHOWN : 0));
	if (len > NAME_SHOWN)
		name[0] = name[1] = '.';
	(void)snprintf(figures, sizeof figures, "%s: %.1f %% left, %.1f %% shared",
		       text_bytes_human(human, s.plain),
		       s.plain ? 100.0 * (double)s.encoded / (double)s.plain : 0.0,
		       s.plain ? 100.0 * (double)s.shared / (double)s.plain : 0.0);
	(void)picture_text(p, LEFT, y, BLACK, name);
	text_before(p, LEFT + WIDTH, y, figures);
}

static void draw_grid(struct picture *p, uint32_t top)
{
	for (uint32_t i = 0; i <= GRID_LINES; i++) {
		uint32_t y = top + i * BAR_HEIGHT / GRID_LINES;
		char percent[16];

		(void)snprintf(percent, sizeof percent, "%" PRIu32 " %%",
			       100 - 100 * i / GRID_LINES);
		if (i % 2 == 0)
			text_before(p, LEFT - MARGIN / 2, y - PICTURE_TEXT_ROWS / 2 + 2, percent);
		picture_fill(p, (struct picture_area){LEFT, y, WIDTH, 1}, GRID);
	}
}

static void draw_offsets(struct picture *p, const struct plot_file *file, uint32_t y)
{
	for (uint32_t i = 0; i <= GRID_LINES; i++) {
		char human[TEXT_BYTES_HUMAN];
		uint32_t x = LEFT + i * WIDTH / GRID_LINES, width;

		text_bytes_human(human, file->total.plain / GRID_LINES * i +
						file->total.plain % GRID_LINES * i / GRID_LINES);
		width = picture_text_width(human);
		x -= i == 0 ? 0 : i == GRID_LINES ? width : width / 2;
		(void)picture_text(p, x, y, BLACK, human);
	}
}

static void draw_band(struct picture *p, const struct plot_file *file, uint32_t y)
{
	uint32_t top = y + LINE_HEIGHT, line = top + BAR_HEIGHT;

	draw_heading(p, file, y);
	draw_grid(p, top);
	for (uint32_t i = 0; i < file->column_count; i++)
		draw_column(p, file, i, line);
	picture_fill(p, (struct picture_area){LEFT, line, WIDTH, 1}, BLACK);
	draw_offsets(p, file, line + MARK_HEIGHT + 2);
}

static void draw_legend(struct picture *p)
{
	uint32_t x = LEFT, y = MARGIN + LINE_HEIGHT;

	(void)picture_text(p, LEFT, MARGIN, BLACK, TITLE);
	for (uint32_t i = 0; i <= CODEC_COUNT; i++) {
		struct picture_colour colour = i < CODEC_COUNT ? COLOURS[i] : pale(COLOURS[0]);

		picture_fill(p, (struct picture_area){x, y, SWATCH, SWATCH}, colour);
		x = picture_text(p, x + SWATCH + MARGIN / 2, y, BLACK,
				 i < CODEC_COUNT ? codec_name((enum codec)i) : "pale: shared") +
		    2 * MARGIN;
	}
	picture_fill(p, (struct picture_area){x, y, 2, SWATCH}, BLACK);
	(void)picture_text(p, x + MARGIN, y, BLACK, "a tensor begins");
}

int plot_png(const struct plot_file *files, uint32_t count, const char *path, struct error *err)
{
	struct picture p;
	FILE *f;
	int rc = picture_init(&p, LEFT + WIDTH + MARGIN, HEAD_HEIGHT + count * BAND_HEIGHT);

	if (rc < 0)
		return error_set(err, rc, "cannot draw '%s'", path);
	draw_legend(&p);
	for (uint32_t i = 0; i < count; i++)
		draw_band(&p, &files[i], HEAD_HEIGHT + i * BAND_HEIGHT);
	f = fopen(path, "wbe");
	rc = f ? picture_write(&p, TITLE, f) : error_from_errno(errno);
	if (f && fclose(f) != 0 && rc == 0)
		rc = error_from_errno(errno);
	picture_finish(&p);
	return rc < 0 ? error_set(err, rc, "cannot write '%s'", path) : 0;
}
