/* SPDX-License-Identifier: Apache-2.0 */
/* The table of errors (error.def) as code, and sentences about them. */
#include "fs/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/base.h"

struct row {
	int code;
	int sys;
	const char *name;
	const char *text;
};

static const struct row rows[] = {
#define X(name, number, sys, text) {number, sys, #name, text},
#include "fs/base/error.def"
#undef X
};

static const struct row *row_of(int code)
{
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (rows[i].code == code || rows[i].code == -code)
			return &rows[i];
	return NULL;
}

const char *error_text(int code)
{
	const struct row *row = row_of(code);

	return row ? row->text : "unknown error";
}

const char *error_name(int code)
{
	const struct row *row = row_of(code);

	return row ? row->name : "UNKNOWN";
}

int error_to_errno(int code)
{
	const struct row *row = row_of(code);

	return row ? row->sys : EIO;
}

int error_from_errno(int sys)
{
	if (sys == EMFILE)
		return -E_NFILE;	/* this process has too many open, not the system: as bad */
	if (sys == ENOBUFS)
		return -E_NOMEM;
	/* Ordinary errors come first in the table, so EIO is E_IO and not a code of our own. */
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (rows[i].sys == sys)
			return -rows[i].code;
	return -E_IO;
}

bool error_is_known(int code)
{
	return row_of(code) != NULL;
}

/* Append to a terminated text, cutting what does not fit. */
static void append(char text[ERROR_TEXT_BYTES], const char *s)
{
	size_t len = strlen(text);
	size_t more = strnlen(s, ERROR_TEXT_BYTES - 1 - len);

	memcpy(text + len, s, more);
	text[len + more] = '\0';
}

/*
 * Make *err say the sentence, with ": REASON" behind it unless that is NULL. The arguments and the
 * reason may point into err->text, so the new text is built beside it.
 */
static int say(struct error *err, int code, const char *reason, const char *format, va_list args)
{
	char text[ERROR_TEXT_BYTES] = "";

	vsnprintf(text, sizeof(text), format, args);
	if (reason) {
		append(text, ": ");
		append(text, reason);
	}
	memcpy(err->text, text, sizeof(text));
	err->code = code > 0 ? -code : code;
	return err->code;
}

int error_set(struct error *err, int code, const char *format, ...)
{
	struct error unwanted;
	va_list args;
	int rc;

	va_start(args, format);
	rc = say(err ? err : &unwanted, code, error_text(code), format, args);
	va_end(args);
	return rc;
}

int error_say(struct error *err, int code, const char *format, ...)
{
	struct error unwanted;
	va_list args;
	int rc;

	va_start(args, format);
	rc = say(err ? err : &unwanted, code, NULL, format, args);
	va_end(args);
	return rc;
}

int error_wrap(struct error *err, const char *format, ...)
{
	va_list args;
	int rc;

	ASSERT(err);
	va_start(args, format);
	rc = say(err, err->code, err->text, format, args);
	va_end(args);
	return rc;
}
