/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ONNX: protocol buffers, of which only the way to tensors is gone: the model, its graph and
 * functions, their nodes, attributes, and graphs in these. All else is passed over by its length.
 * Tensors whose data lies in another file are not found here; that file has no header.
 */
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/tree/tensors_internal.h"

#define FIELD_BYTES_MAX 20u /* of a tag and a length, ten each */
#define IR_VERSION_MAX	64u /* 13 is the newest */

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { MODEL, FUNCTION, GRAPH, NODE, ATTRIBUTE, SPARSE, TENSOR };

/* Messages that are gone into, by the message and field that they are in. */
static const struct way {
	uint8_t kind, field, into;
} ways[] = {
	{MODEL, 7, GRAPH},	 {MODEL, 25, FUNCTION},	 {FUNCTION, 7, NODE},
	{GRAPH, 1, NODE},	 {GRAPH, 5, TENSOR},	 {GRAPH, 15, SPARSE},
	{NODE, 5, ATTRIBUTE},	 {ATTRIBUTE, 5, TENSOR}, {ATTRIBUTE, 6, GRAPH},
	{ATTRIBUTE, 10, TENSOR}, {ATTRIBUTE, 11, GRAPH}, {ATTRIBUTE, 22, SPARSE},
	{ATTRIBUTE, 23, SPARSE}, {SPARSE, 1, TENSOR},	 {SPARSE, 2, TENSOR},
};

/* Fields of a tensor. Floats and doubles of their own fields lie there as in raw data. */
enum { OF_TYPE = 2, OF_FLOATS = 4, OF_NAME = 8, OF_RAW = 9, OF_DOUBLES = 10 };

static const enum tensors_dtype dtypes[] = {
	[1] = TENSORS_F32,	[2] = TENSORS_U8,	[3] = TENSORS_I8,
	[4] = TENSORS_U16,	[5] = TENSORS_I16,	[6] = TENSORS_I32,
	[7] = TENSORS_I64,	[9] = TENSORS_BOOL,	[10] = TENSORS_F16,
	[11] = TENSORS_F64,	[12] = TENSORS_U32,	[13] = TENSORS_U64,
	[14] = TENSORS_C64,	[15] = TENSORS_C128,	[16] = TENSORS_BF16,
	[17] = TENSORS_F8_E4M3, [18] = TENSORS_F8_E4M3, [19] = TENSORS_F8_E5M2,
	[20] = TENSORS_F8_E5M2, [21] = TENSORS_U4,	[22] = TENSORS_I4,
	[23] = TENSORS_F4,
};

struct field {
	uint64_t number;
	uint32_t wire;
	uint64_t value; /* or the length of its bytes */
};

static uint64_t rd_varint(struct rd *r)
{
	uint64_t value = 0;

	for (uint32_t shift = 0; shift < 64; shift += 7) {
		uint8_t byte = rd_u8(r);

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
	r->failed = true;
	return 0;
}

static struct field rd_field(struct rd *r)
{
	uint64_t tag = rd_varint(r);
	struct field field = {.number = tag >> 3, .wire = tag & 7};

	switch (field.wire) {
	case WIRE_VARINT:
	case WIRE_BYTES:
		field.value = rd_varint(r);
		break;
	case WIRE_64:
		rd_view(r, 8);
		break;
	case WIRE_32:
		rd_view(r, 4);
		break;
	default:
		r->failed = true;
	}
	return field;
}

/* What a field of the open tensor tells of it. Its bytes, if it has any, are at `at`. */
static void tensor_field(struct onnx_walk *w, const struct field *field, uint64_t at)
{
	if (field->wire == WIRE_VARINT) {
		if (field->number == OF_TYPE && field->value < ARRAY_COUNT(dtypes))
			w->dtype = dtypes[field->value];
		return;
	}
	if (field->wire != WIRE_BYTES)
		return;
	switch (field->number) {
	case OF_NAME:
		w->name_at = at;
		w->name_len = field->value <= TENSORS_NAME_BYTES_MAX ? (uint32_t)field->value : 0;
		break;
	case OF_FLOATS:
	case OF_DOUBLES:
	case OF_RAW:
		w->data_at = at;
		w->data_len = field->value;
		break;
	}
}

static void level_open(struct onnx_walk *w, uint32_t kind, uint64_t end)
{
	w->levels[w->depth++] = (struct onnx_level){.end = end, .kind = kind};
	if (kind == TENSOR) {
		w->dtype = TENSORS_UNKNOWN;
		w->name_len = 0;
		w->data_len = 0;
	}
}

static int level_close(struct tensors *t)
{
	struct onnx_walk *w = &t->of.onnx;
	const void *name = NULL;

	if (w->levels[w->depth - 1].kind == TENSOR && w->data_len > 0) {
		int rc = w->name_len ? tensors_read(t, w->name_at, w->name_len, &name) : 0;

		if (rc < 0)
			return rc;
		tensors_tell(t, &(struct tensors_span){
					.offset = w->data_at,
					.length = w->data_len,
					.dtype = w->dtype,
					.name = name,
					.name_len = w->name_len,
				});
	}
	return --w->depth == 0;
}

static int step(struct tensors *t)
{
	struct onnx_walk *w = &t->of.onnx;
	struct onnx_level *level = &w->levels[w->depth - 1];
	uint32_t len = (uint32_t)MIN_OF(level->end - w->at, FIELD_BYTES_MAX);
	const void *bytes;

	if (len == 0)
		return level_close(t);
	int rc = tensors_read(t, w->at, len, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, len);
	struct field field = rd_field(&r);
	uint64_t at = w->at + len - rd_left(&r);
	uint64_t behind = field.wire == WIRE_BYTES ? field.value : 0;
	if (!rd_ok(&r) || behind > level->end - at)
		return -E_MALFORMED;
	w->at = at;
	for (uint32_t i = 0; i < ARRAY_COUNT(ways) && field.wire == WIRE_BYTES; i++)
		if (ways[i].kind == level->kind && ways[i].field == field.number &&
		    w->depth < ONNX_DEPTH_MAX) {
			level_open(w, ways[i].into, at + behind);
			return 0;
		}
	if (level->kind == TENSOR)
		tensor_field(w, &field, at);
	w->at += behind;
	return 0;
}

/* The version of the format, a small number, then a text, the graph, or what it imports. */
bool tensors_onnx_begins(struct tensors *t, const uint8_t *head)
{
	static const uint8_t seconds[] = {0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72};

	if (head[0] != 0x08 || head[1] == 0 || head[1] > IR_VERSION_MAX ||
	    !memchr(seconds, head[2], sizeof seconds))
		return false;
	t->format = TENSORS_OF_ONNX;
	t->of.onnx = (struct onnx_walk){0};
	level_open(&t->of.onnx, MODEL, t->source.size);
	t->step = step;
	return true;
}
