/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tensors of one file, by offset: which one is a range of bytes of? Bounded, whatever the
 * header says (I8, I11). Threads: one.
 */
#ifndef CAIRN_TOOLS_TENSOR_LIST_H
#define CAIRN_TOOLS_TENSOR_LIST_H

#include "fs/tree/tensors.h"

#define TENSOR_LIST_MAX	  262144u
#define TENSOR_NAME_BYTES 96u /* longer ones are cut in the middle */

struct tensor_item {
	uint64_t offset, length;
	enum tensors_dtype dtype;
	char *name; /* owned; "" where it has none; printable */
};

struct tensor_list {
	struct tensor_item *items; /* rising, apart */
	uint32_t count, room;
	enum tensors_format format;
	uint64_t data_start;
	bool is_short; /* there were more than we keep, or the file cannot be read to the end */
};

/* Walks the whole header; a file that is no model has none. -E_NOMEM */
must_check int tensor_list_read(struct tensor_list *list, const struct tensors_source *source);
void tensor_list_finish(struct tensor_list *list); /* a zeroed one, too */
/* The one that most of [offset, offset + length) belongs to; NULL: to none. */
const struct tensor_item *tensor_list_find(const struct tensor_list *list, uint64_t offset,
					   uint64_t length);

#endif
