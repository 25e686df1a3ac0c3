/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: one table (error.def), three kinds never mixed. A bug is an ASSERT. Foreign data that
 * is wrong is -E_MALFORMED or -E_CORRUPT. A world that refuses is a mapped errno.
 *
 * Calls return 0 or a documented non-negative value, else a negated code. The code travels; the
 * sentence is built by whoever knows the subject, in a `struct error` (tools and start-up only).
 * Threads: any; an error belongs to who made it.
 */
#ifndef CAIRN_FS_BASE_ERROR_H
#define CAIRN_FS_BASE_ERROR_H

#include <stdbool.h>

#include "fs/base/limits.h"

enum error_code {
#define X(name, number, sys, text) E_##name = number,
#include "fs/base/error.def"
#undef X
};

/* A code (negated, as returned) and a sentence about it. Zeroed means no error. */
struct error {
	int code;			/* 0, or -E_* */
	char text[ERROR_TEXT_BYTES];	/* lower case, no stop, failure first, subject quoted */
};

/* Constant text of a code, negated or not; "unknown error" for a number not in the table. */
const char *error_text(int code);
/* Short name ("NOENT"); "UNKNOWN" if not in the table. */
const char *error_name(int code);
/* errno for the kernel or a user; EIO if not in the table. Positive. */
int error_to_errno(int code);
/* Negated code for a positive errno: EMFILE is -E_NFILE; -E_IO where the table has none. */
int error_from_errno(int sys);
/* Is this a code of the table? For numbers from the wire. */
bool error_is_known(int code);

/*
 * Set *err to "SENTENCE: text of code" and return code (negated), so that start-up code can
 * `return error_set(err, -E_NOENT, "cannot open '%s'", path)`. err may be NULL.
 */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same without the code's own text behind it. */
int error_say(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Put "SENTENCE: " in front of what *err says; returns err->code. */
int error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
