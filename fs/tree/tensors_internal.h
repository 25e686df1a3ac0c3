/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to tensors*.c: a walk and its formats.
 *
 * A format is a function of one step. A step reads once, by tensors_read(), then changes the
 * walk; so where the read fails it has changed nothing, and a source need not keep more than what
 * was asked for last. It goes forward in the file, or in a state of its own that ends, so that a
 * walk always ends.
 */
#ifndef CAIRN_FS_TREE_TENSORS_INTERNAL_H
#define CAIRN_FS_TREE_TENSORS_INTERNAL_H

#include "fs/tree/tensors.h"

/* Returns 0: there is more; 1: the end; -E_MALFORMED: it ends as well; others: see the source. */
typedef int tensors_step(struct tensors *t);

tensors_step tensors_safetensors_step;

#define SAFETENSORS_ENTRY_BYTES_MAX 8192u

struct safetensors_walk {
	uint64_t at, end;		/* the next byte of the header to look at, and its end */
	uint64_t entry;			/* where the entry under way begins; 0: not yet */
	uint32_t depth;
	bool in_string, is_escaped;
	bool is_found, is_last;		/* it ends at `at`, which is its turn; the object as well */
};

struct tensors {
	struct tensors_source source;
	struct tensors_sink sink;
	enum tensors_format format;
	uint64_t data_start;
	tensors_step *step;
	union {
		struct safetensors_walk safetensors;
	} of;
};

/* -E_MALFORMED: not within the file. */
must_check int tensors_read(struct tensors *t, uint64_t offset, uint32_t len, const void **bytes);
/* Tell of a span, if it lies within the file and is not empty. */
void tensors_tell(struct tensors *t, const struct tensors_span *span);

#endif
