/* SPDX-License-Identifier: Apache-2.0 */
/* Growable text with a maximum, and the few ways in which numbers become text and back. */
#include "fs/base/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_init(struct text *t, size_t bytes_max)
{
	*t = (struct text){.bytes_max = bytes_max};
}

void text_finish(struct text *t)
{
	free(t->chars);
	*t = (struct text){.bytes_max = t->bytes_max};
}

/* Room for `more` characters and the terminator; bytes_max counts the terminator too. */
static bool reserve(struct text *t, size_t more)
{
	if (t->failed || t->bytes_max == 0 || more > t->bytes_max - 1 - t->len) {
		t->failed = true;
		return false;
	}
	size_t want = t->len + more + 1;
	if (want <= t->capacity)
		return true;

	size_t capacity = MIN_OF(MAX_OF(want, MAX_OF(2 * t->capacity, 64)), t->bytes_max);
	char *chars = realloc(t->chars, capacity);
	if (!chars) {
		t->failed = true;
		return false;
	}
	t->chars = chars;
	t->capacity = capacity;
	return true;
}

void text_add_bytes(struct text *t, const char *s, size_t len)
{
	if (!reserve(t, len))
		return;
	if (len)
		memcpy(t->chars + t->len, s, len);
	t->len += len;
	t->chars[t->len] = '\0';
}

void text_add(struct text *t, const char *s)
{
	text_add_bytes(t, s, strlen(s));
}

void text_addf(struct text *t, const char *format, ...)
{
	va_list args, again;

	va_start(args, format);
	va_copy(again, args);
	int len = vsnprintf(NULL, 0, format, args);
	if (len < 0)
		t->failed = true;
	else if (reserve(t, (size_t)len)) {
		vsnprintf(t->chars + t->len, (size_t)len + 1, format, again);
		t->len += (size_t)len;
	}
	va_end(again);
	va_end(args);
}

const char *text_chars(const struct text *t)
{
	return t->chars ? t->chars : "";
}

char *text_bytes_human(char out[TEXT_BYTES_HUMAN], uint64_t bytes)
{
	static const char units[][4] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned unit = 0;
	uint64_t rest = 0; /* of the division by 1,024 before, in 1,024ths */

	while (bytes >= 1024 && unit + 1 < ARRAY_COUNT(units)) {
		rest = bytes % 1024;
		bytes /= 1024;
		unit++;
	}
	/* Cut, not rounded: "1023.9 KiB" must not become "1024.0 KiB". */
	if (unit == 0)
		snprintf(out, TEXT_BYTES_HUMAN, "%u B", (unsigned)bytes);
	else
		snprintf(out, TEXT_BYTES_HUMAN, "%u.%u %s", (unsigned)(bytes & 0x7ff),
			 (unsigned)(rest * 10 / 1024 % 10), units[unit]);
	return out;
}

/* Decimal digits at *s into *out; moves *s behind them. -E_INVAL: none, -E_RANGE: too large. */
static int parse_digits(const char **s, uint64_t *out)
{
	const char *at = *s;
	uint64_t v = 0;

	if (!isdigit((unsigned char)*at))
		return -E_INVAL;
	for (; isdigit((unsigned char)*at); at++)
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*at - '0'), &v))
			return -E_RANGE;
	*s = at;
	*out = v;
	return 0;
}

int text_parse_u64(const char *s, uint64_t *out)
{
	uint64_t v;
	int rc = parse_digits(&s, &v);

	if (rc < 0)
		return rc;
	if (*s)
		return -E_INVAL;
	*out = v;
	return 0;
}

/* "", "B", "k", "KiB", "G", "GB" ...: the power of two that it stands for, or -E_INVAL. */
static int parse_unit(const char *s)
{
	static const char letters[] = "KMGTPE";
	int shift = 0;

	if (*s) {
		const char *found = strchr(letters, toupper((unsigned char)*s));
		if (found) {
			shift = 10 * (int)(found - letters + 1);
			s++;
			if (*s == 'i')
				s++;
		}
	}
	if (*s == 'B')
		s++;
	return *s ? -E_INVAL : shift;
}

int text_parse_bytes(const char *s, uint64_t *out)
{
	uint64_t whole;
	uint64_t thousandths = 0;
	int rc = parse_digits(&s, &whole);

	if (rc < 0)
		return rc;
	if (*s == '.') {
		s++;
		if (!isdigit((unsigned char)*s))
			return -E_INVAL;
		/* More digits than three could not be told apart in any size that people write. */
		for (uint64_t place = 100; isdigit((unsigned char)*s); place /= 10, s++) {
			if (place == 0)
				return -E_INVAL;
			thousandths += place * (uint64_t)(*s - '0');
		}
	}
	int shift = parse_unit(s);
	if (shift < 0)
		return shift;
	if (shift == 0 && thousandths)
		return -E_INVAL;
	if (whole > UINT64_MAX >> shift)
		return -E_RANGE;

	/* The fraction first in 1,024ths of the unit, so that nothing overflows. */
	uint64_t unit = (uint64_t)1 << shift;
	uint64_t fraction =
		thousandths ? unit / 1000 * thousandths + unit % 1000 * thousandths / 1000 : 0;
	if (__builtin_add_overflow(whole << shift, fraction, out))
		return -E_RANGE;
	return 0;
}

int text_parse_ms(const char *s, uint64_t *out)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"", 1},	     {"ms", 1},	     {"s", 1000},
		     {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
	uint64_t v;
	int rc = parse_digits(&s, &v);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ARRAY_COUNT(units); i++)
		if (strcmp(s, units[i].name) == 0)
			return __builtin_mul_overflow(v, units[i].ms, out) ? -E_RANGE : 0;
	return -E_INVAL;
}

void text_hex(char *out, const void *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++) {
		*out++ = digits[at[i] >> 4];
		*out++ = digits[at[i] & 15];
	}
	*out = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int text_parse_hex(const char *s, void *out, size_t len)
{
	uint8_t *to = out;

	if (strlen(s) != 2 * len)
		return -E_INVAL;
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(s[2 * i]);
		int low = hex_digit(s[2 * i + 1]);
		if (high < 0 || low < 0)
			return -E_INVAL;
		to[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

bool text_copy(char *out, size_t out_bytes, const char *s)
{
	ASSERT(out_bytes > 0);
	size_t len = strnlen(s, out_bytes);
	bool fits = len < out_bytes;

	if (!fits)
		len = out_bytes - 1;
	memcpy(out, s, len);
	out[len] = '\0';
	return fits;
}

char *text_printable(char *s)
{
	for (unsigned char *at = (unsigned char *)s; *at; at++) {
		/* C1 controls are U+0080 .. U+009F, c2 80 .. c2 9f in UTF-8 */
		bool is_c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f;

		if (*at < 0x20 || *at == 0x7f || is_c1)
			*at = '?';
		if (is_c1)
			*++at = '?';
	}
	return s;
}
