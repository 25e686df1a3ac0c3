/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorFlow Lite: a flatbuffer, of which the way from the model to its buffers is gone. A table
 * begins with how far before it its list of fields lies; a field that is a vector, with how far
 * behind it the vector lies. What numbers a buffer holds its tensors say, of which several may
 * share it: not told.
 */
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/tree/tensors_internal.h"

/* Fields of the model and of a buffer, by their place in the list. */
enum { MODEL_BUFFERS = 4, BUFFER_DATA = 0 };

#define LIST_BYTES 4u			/* of a list, before its first field */

static tensors_step table_step, list_step, vector_step, length_step, buffer_step;

static int read_u32(struct tensors *t, uint64_t at, uint32_t *out)
{
	const void *bytes;

	int rc = tensors_read(t, at, 4, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, 4);
	*out = rd_u32(&r);
	return 0;
}

/* Where the model is, its only way in. */
static int root_step(struct tensors *t)
{
	struct tflite_walk *w = &t->of.tflite;
	uint32_t model;

	int rc = read_u32(t, 0, &model);
	if (rc < 0)
		return rc;
	w->at = model;
	w->field = MODEL_BUFFERS;
	t->step = table_step;
	return 0;
}

/* The next buffer's table. Unlike what else has an offset, buffers may be missing anything. */
static int buffer_step(struct tensors *t)
{
	struct tflite_walk *w = &t->of.tflite;
	uint32_t offset;

	if (w->buffers_left == 0)
		return 1;
	int rc = read_u32(t, w->buffer_at, &offset);
	if (rc < 0)
		return rc;
	w->at = w->buffer_at + offset;
	w->buffer_at += 4;
	w->buffers_left--;
	w->field = BUFFER_DATA;
	t->step = table_step;
	return 0;
}

/* Without the field: of a buffer that is lawful, the next one comes; of the model it is the end. */
static int field_missing(struct tensors *t)
{
	t->step = buffer_step;
	return 0;
}

static int table_step(struct tensors *t)
{
	struct tflite_walk *w = &t->of.tflite;
	uint32_t back;

	int rc = read_u32(t, w->at, &back);
	if (rc < 0)
		return rc;
	w->table = w->at;
	w->at -= (uint64_t)(int64_t)(int32_t)back;
	t->step = list_step;
	return 0;
}

/* The list's own length, the table's, then a field's place in the table each, 0 for none. */
static int list_step(struct tensors *t)
{
	struct tflite_walk *w = &t->of.tflite;
	uint32_t len = LIST_BYTES + 2 * (w->field + 1);
	const void *bytes;

	if (w->at > t->source.size || len > t->source.size - w->at)
		return field_missing(t);
	int rc = tensors_read(t, w->at, len, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, len);
	uint32_t list_len = rd_u16(&r);
	rd_view(&r, 2 + 2 * w->field);
	uint32_t place = rd_u16(&r);
	if (list_len < len || place == 0)
		return field_missing(t);
	w->at = w->table + place;
	t->step = vector_step;
	return 0;
}

static int vector_step(struct tensors *t)
{
	struct tflite_walk *w = &t->of.tflite;
	uint32_t offset;

	int rc = read_u32(t, w->at, &offset);
	if (rc < 0)
		return rc;
	w->at += offset;
	t->step = length_step;
	return 0;
}

/* How many elements: buffers of the model, or bytes of a buffer. */
static int length_step(struct tensors *t)
{
	struct tflite_walk *w = &t->of.tflite;
	uint32_t len;

	int rc = read_u32(t, w->at, &len);
	if (rc < 0)
		return rc;
	if (w->field == MODEL_BUFFERS) {
		w->buffers_left = len;
		w->buffer_at = w->at + 4;
	} else {
		tensors_tell(t, &(struct tensors_span){.offset = w->at + 4, .length = len});
	}
	t->step = buffer_step;
	return 0;
}

bool tensors_tflite_begins(struct tensors *t, const uint8_t *head)
{
	if (memcmp(head + 4, "TFL3", 4) != 0)
		return false;
	t->format = TENSORS_OF_TFLITE;
	t->of.tflite = (struct tflite_walk){0};
	t->step = root_step;
	return true;
}
