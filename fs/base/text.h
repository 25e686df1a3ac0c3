/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growable text, born with its maximum; reaching it sets a sticky failure. After curl's dynbuf.
 * Also the few formatting helpers that tools and logs share. Threads: any; one at a time for each
 * text, which its owner finishes.
 */
#ifndef CAIRN_FS_BASE_TEXT_H
#define CAIRN_FS_BASE_TEXT_H

#include "fs/base/base.h"

struct text {
	char *chars;		/* NUL-terminated; NULL while empty */
	size_t len;
	size_t capacity;
	size_t bytes_max;	/* the terminator included */
	bool failed;		/* out of memory, or past bytes_max */
};

void text_init(struct text *t, size_t bytes_max);
void text_finish(struct text *t);		/* zeroed or finished is allowed */
void text_add(struct text *t, const char *s);
void text_add_bytes(struct text *t, const char *s, size_t len);
void text_addf(struct text *t, const char *format, ...) printf_like(2, 3);
const char *text_chars(const struct text *t);	/* never NULL */

/* "1.5 GiB", "37 B": at most 16 bytes, for people. Returns `out`. */
#define TEXT_BYTES_HUMAN 16
char *text_bytes_human(char out[TEXT_BYTES_HUMAN], uint64_t bytes);
/* Parse "64", "64k", "64KiB", "1.5G", "2T" (powers of 1,024). 0 or -E_INVAL, -E_RANGE. */
must_check int text_parse_bytes(const char *s, uint64_t *out);
/* Parse a whole unsigned decimal number. 0 or -E_INVAL, -E_RANGE. */
must_check int text_parse_u64(const char *s, uint64_t *out);
/* Parse a time into ms: "500", "500ms", "10s", "5min", "1h", "30d". 0 or -E_INVAL, -E_RANGE. */
must_check int text_parse_ms(const char *s, uint64_t *out);
/* Hex of `len` bytes into out[2 * len + 1]; and back (-E_INVAL unless exactly len bytes). */
void text_hex(char *out, const void *bytes, size_t len);
must_check int text_parse_hex(const char *s, void *out, size_t len);
/* Foreign text for a terminal: control characters become '?', in place. Returns `s`. */
char *text_printable(char *s);
/* Copy with truncation, always terminated; returns false if it was cut. */
bool text_copy(char *out, size_t out_bytes, const char *s);

#endif
