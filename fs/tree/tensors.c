/* SPDX-License-Identifier: Apache-2.0 */
/* The walk: what the file is, step by step through its headers, and what every format shares. */
#include "fs/tree/tensors_internal.h"

#include <stdlib.h>
#include <string.h>

#define STEPS_OF_A_TURN 1024u
#define STEPS_MAX	(1u << 24) /* of a walk: a model of the largest takes a million */

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
	static tensors_recognise *const formats[] = {
		tensors_gguf_begins,   tensors_npy_begins,  tensors_zip_begins,
		tensors_tflite_begins, tensors_onnx_begins, tensors_safetensors_begins,
	};
	uint32_t len = (uint32_t)MIN_OF(t->source.size, TENSORS_HEAD_BYTES);
	uint8_t head[TENSORS_HEAD_BYTES] = {0};
	const void *bytes;

	if (len == 0)
		return 1;
	int rc = tensors_read(t, 0, len, &bytes);
	if (rc < 0)
		return rc;
	memcpy(head, bytes, len);
	for (uint32_t i = 0; i < ARRAY_COUNT(formats); i++)
		if (formats[i](t, head))
			return 0;
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
		t->steps_left = STEPS_MAX;
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
		int rc = t->steps_left ? t->step(t) : 1;

		if (rc == 1 || rc == -E_MALFORMED) {
			t->step = ended;
			return 0;
		}
		if (rc < 0)
			return rc;
		t->steps_left--;
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
