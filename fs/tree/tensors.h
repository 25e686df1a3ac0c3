/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the tensors of a model file lie: a walk through the headers of safetensors, GGUF, ONNX,
 * NumPy's .npy, zip archives of arrays (.npz, PyTorch) and TensorFlow Lite, by what the first bytes
 * say it is.
 *
 * What is found only proposes where blocks begin (cut.h) and names data types in statistics. So a
 * header that is wrong, hostile or of an unknown kind yields fewer spans or none, never an error:
 * spans lie within the file, but may overlap, repeat, and come in any order (I8). Memory is bounded
 * whatever the header says, and each step goes forward in the file or ends the walk (I11).
 *
 * The walk reads by a callback. Where that answers -E_NEED_BYTES, nothing has changed: get the
 * bytes it was asked for, and call again. No span is told twice by that.
 *
 *	struct tensors *t = tensors_create(&source, &sink);
 *	do rc = tensors_walk(t); while (rc == -E_AGAIN);
 *	tensors_destroy(t);
 *
 * Pure; one thread for each walk.
 */
#ifndef CAIRN_FS_TREE_TENSORS_H
#define CAIRN_FS_TREE_TENSORS_H

#include "fs/base/base.h"

#define TENSORS_READ_MAX 16384u		/* bytes that one read asks for */

enum tensors_dtype {
#define X(name, text) TENSORS_##name,
#include "fs/tree/tensors.def"
#undef X
	TENSORS_DTYPES
};

enum tensors_format {
	TENSORS_OF_NONE,		/* not recognised: no spans */
	TENSORS_OF_SAFETENSORS,
	TENSORS_OF_GGUF,
	TENSORS_OF_ONNX,
	TENSORS_OF_NPY,
	TENSORS_OF_ZIP,			/* .npz, PyTorch */
	TENSORS_OF_TFLITE,
	TENSORS_FORMATS
};

struct tensors_source {
	uint64_t size;			/* of the file */
	/*
	 * Bytes [offset, offset + len), 1 <= len <= TENSORS_READ_MAX, all within `size`. What is
	 * answered stays until the next call.
	 *
	 * -E_NEED_BYTES	not here yet; tensors_walk() returns it
	 * others		as well
	 */
	int (*read)(void *arg, uint64_t offset, uint32_t len, const void **bytes);
	void *arg;
};

struct tensors_span {
	uint64_t offset, length;	/* within the file; length > 0 */
	enum tensors_dtype dtype;
	const char *name;		/* not terminated, any bytes; gone after the callback */
	uint32_t name_len;		/* 0 where it has none */
};

struct tensors_sink {
	void (*span)(void *arg, const struct tensors_span *span);
	void *arg;
};

struct tensors;				/* opaque */

/* Both are copied. NULL: no memory. */
struct tensors *tensors_create(const struct tensors_source *source,
			       const struct tensors_sink *sink);
void tensors_destroy(struct tensors *t);	/* may be NULL */

/*
 * Go on.
 *
 * Returns 0 at the end, or
 * -E_AGAIN	a turn's work is done and more is left: call again, soon or later
 * -E_NEED_BYTES, or what else the source said: call again when it can answer
 * -E_NOMEM	call again, or go without the rest
 */
must_check int tensors_walk(struct tensors *t);

/* Known once the walk has ended, and whenever a span is told. */
enum tensors_format tensors_format(const struct tensors *t);
/* Where data begins behind the header: 0 where the format has no such place. */
uint64_t tensors_data_start(const struct tensors *t);

const char *tensors_dtype_name(enum tensors_dtype dtype);
const char *tensors_format_name(enum tensors_format format);

#endif
