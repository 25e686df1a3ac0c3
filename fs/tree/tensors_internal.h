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

/*
 * Whether the file's first TENSORS_HEAD_BYTES, zeros behind a shorter file's end, are of the
 * format; then the walk's format, step and state are set.
 */
typedef bool tensors_recognise(struct tensors *t, const uint8_t *head);

tensors_recognise tensors_safetensors_begins, tensors_gguf_begins, tensors_onnx_begins,
	tensors_npy_begins, tensors_zip_begins, tensors_tflite_begins;

#define TENSORS_HEAD_BYTES	16u
#define TENSORS_NAME_BYTES_MAX	512u		/* longer names are not told */
#define TENSORS_HEADER_BYTES_MAX MiB(128)	/* no format's header is read any further */

#define SAFETENSORS_ENTRY_BYTES_MAX 8192u

struct safetensors_walk {
	uint64_t at, end;		/* the next byte of the header to look at, and its end */
	uint64_t entry;			/* where the entry under way begins */
	uint32_t depth;
	bool in_string, is_escaped;
	bool is_found, is_last;		/* it ends at `at`, which is its turn; the object as well */
};

#define GGUF_ARRAYS_MAX 8u		/* one in the other */

struct gguf_walk {
	uint64_t at, end;		/* the next byte to look at; none is from `end` on */
	uint64_t keys_left;
	uint64_t infos_at, infos, infos_left;	/* of tensors: gone through twice, see the source */
	uint64_t text_len;		/* of the key or name that comes */
	uint32_t alignment, type;	/* of the value that comes */
	uint8_t word_bytes;		/* of a count: 4 in version 1, then 8 */
	bool is_alignment, is_telling;
	uint32_t depth;
	struct gguf_array {
		uint64_t left;
		uint32_t type;
	} arrays[GGUF_ARRAYS_MAX];
};

#define ONNX_DEPTH_MAX 32u

struct onnx_walk {
	uint64_t at;
	uint32_t depth;			/* of messages that are open, the file is the first */
	struct onnx_level {
		uint64_t end;
		uint32_t kind;
	} levels[ONNX_DEPTH_MAX];
	uint64_t name_at, data_at, data_len;	/* of the tensor that is open */
	uint32_t name_len;
	enum tensors_dtype dtype;
};

struct zip_walk {
	uint64_t at, end;		/* of the central directory; the search for it goes down */
	uint64_t text_at;		/* of its name and what is extra */
	uint64_t entry_at;		/* its local header, then its data */
	uint64_t entry_len;
	uint32_t name_len, extra_len;
	char name[TENSORS_NAME_BYTES_MAX];
};

struct tflite_walk {
	uint64_t at;			/* what the step looks at */
	uint64_t table;			/* of which a field is looked for */
	uint32_t field;
	uint64_t buffer_at;		/* the next element of the model's vector of buffers */
	uint32_t buffers_left;
};

struct tensors {
	struct tensors_source source;
	struct tensors_sink sink;
	enum tensors_format format;
	uint64_t data_start;
	tensors_step *step;
	uint32_t steps_left;
	union {
		struct safetensors_walk safetensors;
		struct gguf_walk gguf;
		struct onnx_walk onnx;
		struct zip_walk zip;
		struct tflite_walk tflite;
	} of;
};

/* -E_MALFORMED: not within the file. */
must_check int tensors_read(struct tensors *t, uint64_t offset, uint32_t len, const void **bytes);
/*
 * The array in an .npy file or archive member that begins with these bytes: 0, with where its data
 * begins and what it is; -E_MALFORMED.
 */
must_check int tensors_npy_parse(const void *bytes, uint32_t len, uint64_t *data,
				 enum tensors_dtype *dtype);
#define TENSORS_NPY_BYTES 256u		/* of these, as far as there are any */

/* Tell of a span, if it lies within the file and is not empty. */
void tensors_tell(struct tensors *t, const struct tensors_span *span);

#endif
