/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every file of cairn may assume: fixed-width scalars, the few compiler
 * attributes we use, checked casts, and ASSERT.
 *
 * ASSERT states our own guarantees and stays on in release builds: a bug ends
 * the process with a report. Foreign bytes (disk, wire, user) are never asserted,
 * they are decoded and rejected (I8).
 */
#ifndef CAIRN_FS_BASE_BASE_H
#define CAIRN_FS_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/error.h"
#include "fs/base/limits.h"

#define must_check	__attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define noreturn_fn	__attribute__((noreturn))
#define unused_arg	__attribute__((unused))

#define ARRAY_COUNT(a)	(sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b)	((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)	((a) > (b) ? (a) : (b))
#define DIV_CEIL(n, d)	(((n) + (d) - 1) / (d))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* Plain scalars with a meaning of their own. */
typedef uint64_t inode_no;	/* never 0, never reused; 1 is the root directory */
typedef uint64_t session_no;	/* unguessable, never 0 */
typedef uint32_t server_no;	/* a chunk server, given at its first join; never 0 */
typedef uint16_t pg_no;		/* 0 .. PG_COUNT - 1 */

#define INODE_ROOT	((inode_no)1)

/* Print where and what, then the panic hook (the trace ring), then abort(). Any thread. */
noreturn_fn void base_panic(const char *file, int line, const char *what);
/* What base_panic() calls before it aborts; NULL: nothing. Set at start, before threads. */
void base_set_panic_hook(void (*hook)(void));

#define ASSERT(cond) \
	((cond) ? (void)0 : base_panic(__FILE__, __LINE__, #cond))

/* The same, for checks that walk a structure: development, fault and simulation builds only. */
#ifdef CAIRN_SLOW_ASSERTS
#define ASSERT_SLOW(cond) ASSERT(cond)
#else
#define ASSERT_SLOW(cond) ((void)sizeof(cond))
#endif

/* A `void *` that a library hands back, checked against the magic number in its `magic` field. */
#define CHECKED_CAST(ptr, type, number) \
	((type *)base_checked_cast((ptr), offsetof(type, magic), (number), __FILE__, __LINE__))
void *base_checked_cast(void *ptr, size_t magic_offset, uint32_t number, const char *file,
			int line);

#endif
