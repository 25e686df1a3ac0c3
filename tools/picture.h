/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A picture in memory, of rectangles and words, written as PNG. What is drawn outside of it is
 * cut off. Threads: one.
 */
#ifndef CAIRN_TOOLS_PICTURE_H
#define CAIRN_TOOLS_PICTURE_H

#include <stdio.h>

#include "fs/base/base.h"

#define PICTURE_TEXT_ROWS 18u /* pixels; of a line of words */

struct picture_colour {
	uint8_t red, green, blue;
};

struct picture {
	uint32_t width, height; /* pixels */
	uint8_t *pixels;	/* owned; three bytes each */
};

/* A white one. -E_NOMEM */
must_check int picture_init(struct picture *p, uint32_t width, uint32_t height);
void picture_finish(struct picture *p); /* zeroed or finished is allowed */

struct picture_area {
	uint32_t x, y, width, height; /* pixels, from the upper left corner */
};
void picture_fill(struct picture *p, struct picture_area area, struct picture_colour colour);
/* Words whose upper left corner is there; returns where the next ones may begin. */
uint32_t picture_text(struct picture *p, uint32_t x, uint32_t y, struct picture_colour colour,
		      const char *text);
uint32_t picture_text_width(const char *text);

/* With a note for who looks into the file. -E_IO, -E_NOMEM */
must_check int picture_write(const struct picture *p, const char *description, FILE *f);

#endif
