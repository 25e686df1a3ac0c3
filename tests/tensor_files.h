/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small model file in memory, and what a walk tells of it (fs/tree/tensors.h). Its reads may be
 * refused the first time each, and remember one refusal only: as a source that keeps nothing else.
 */
#ifndef CAIRN_TESTS_TENSOR_FILES_H
#define CAIRN_TESTS_TENSOR_FILES_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/tree/tensors.h"

#define TOLD_BYTES_MAX 65536u

struct file {
	uint8_t bytes[1 << 16];
	uint64_t size;
	bool is_slow;			/* each read is refused the first time */
	uint64_t asked;			/* the offset refused last, and one */
	char told[TOLD_BYTES_MAX];	/* a line for each span */
	size_t told_len;
};

static inline int file_read(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	struct file *file = arg;

	ck_assert_uint_le(len, TENSORS_READ_MAX);
	ck_assert(len > 0 && offset + len <= file->size);
	if (file->is_slow && file->asked != offset + 1) {
		file->asked = offset + 1;
		return -E_NEED_BYTES;
	}
	file->asked = 0;
	*bytes = file->bytes + offset;
	return 0;
}

static inline void file_span(void *arg, const struct tensors_span *span)
{
	struct file *file = arg;
	size_t room = sizeof file->told - file->told_len;

	int len = snprintf(file->told + file->told_len, room, "%.*s %s %llu+%llu\n",
			   (int)span->name_len, span->name_len ? span->name : "",
			   tensors_dtype_name(span->dtype), (unsigned long long)span->offset,
			   (unsigned long long)span->length);
	ck_assert(len > 0 && (size_t)len < room);
	file->told_len += (size_t)len;
}

static inline enum tensors_format file_walk(struct file *file, bool is_slow, uint64_t *data_start)
{
	struct tensors_source source = {.size = file->size, .read = file_read, .arg = file};
	struct tensors *t = tensors_create(&source, &(struct tensors_sink){file_span, file});
	int rc;

	file->is_slow = is_slow;
	file->told_len = 0;
	file->told[0] = 0;
	do {
		rc = tensors_walk(t);
	} while (rc == -E_AGAIN || rc == -E_NEED_BYTES);
	ck_assert_int_eq(rc, 0);
	enum tensors_format format = tensors_format(t);
	if (data_start)
		*data_start = tensors_data_start(t);
	tensors_destroy(t);
	return format;
}

/* What is told of the file, and that it is told once however its bytes come. */
static inline void file_expect(struct file *file, enum tensors_format format, const char *told)
{
	ck_assert_int_eq(file_walk(file, false, NULL), format);
	ck_assert_str_eq(file->told, told);
	ck_assert_int_eq(file_walk(file, true, NULL), format);
	ck_assert_str_eq(file->told, told);
}

#endif
