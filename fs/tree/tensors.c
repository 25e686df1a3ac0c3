/* SPDX-License-Identifier: Apache-2.0 */
/* The walk: what the file is, step by step through its headers, and what every format shares. */
#include "fs/tree/tensors_internal.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"

#define STEPS_OF_A_TURN 1024u
#define HEAD_BYTES	16u		/* what tells the formats apart */

int tensors_read(struct tensors *t, uint64_t offset, uint32_t len, const void **bytes)
{
	ASSERT(len > 0 && len <= TENSORS_READ_MAX);
	if (offset > t->source.size || len > t->source.size - offset)
		return -E_MALFORMED;
	return t->source.read(t->source.arg, offset, len, bytes);
}

void tensors_tell(struct tensors *t, const struct tensors_span *span)
{
	if (span->length > 0 && span->offset <= t->source.size &&
	    span->length <= t->source.size - span->offset)
		t->sink.span(t->sink.arg, span);
}

/* The first step: by the first bytes. */
static int recognise(struct tensors *t)
{
	const void *bytes;
	int rc = tensors_read(t, 0, HEAD_BYTES, &bytes);

	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, HEAD_BYTES);
	uint64_t first = rd_u64(&r);
	if (first >= 2 && first <= t->source.size - 8 && rd_u8(&r) == '{') {
		t->format = TENSORS_OF_SAFETENSORS;
		t->data_start = 8 + first;
		t->of.safetensors = (struct safetensors_walk){.at = 8, .end = 8 + first};
		t->step = tensors_safetensors_step;
		return 0;
	}
	return 1;
}

struct tensors *tensors_create(const struct tensors_source *source, const struct tensors_sink *sink)
{
	struct tensors *t = calloc(1, sizeof *t);

	ASSERT(source->size <= FILE_BYTES_MAX);
	if (t) {
		t->source = *source;
		t->sink = *sink;
		t->step = recognise;
	}
	return t;
}

void tensors_destroy(struct tensors *t)
{
	free(t);
}

static int ended(struct tensors *t unused_arg)
{
	return 1;
}

int tensors_walk(struct tensors *t)
{
	for (uint32_t i = 0; i < STEPS_OF_A_TURN; i++) {
		int rc = t->step(t);

		if (rc == 1 || rc == -E_MALFORMED) {
			t->step = ended;
			return 0;
		}
		if (rc < 0)
			return rc;
	}
	return -E_AGAIN;
}

enum tensors_format tensors_format(const struct tensors *t)
{
	return t->format;
}

uint64_t tensors_data_start(const struct tensors *t)
{
	return t->data_start;
}

const char *tensors_dtype_name(enum tensors_dtype dtype)
{
	static const char *const names[] = {
#define X(name, text) text,
#include "fs/tree/tensors.def"
#undef X
	};

	ASSERT((uint32_t)dtype < ARRAY_COUNT(names));
	return names[dtype];
}

const char *tensors_format_name(enum tensors_format format)
{
	static const char *const names[] = {"other", "safetensors", "gguf", "onnx", "npy", "zip",
					    "tflite"};

	_Static_assert(ARRAY_COUNT(names) == TENSORS_FORMATS, "each has its name");
	ASSERT((uint32_t)format < ARRAY_COUNT(names));
	return names[format];
}
