/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors: eight bytes that say how long the header is, then JSON, an object of tensors by
 * name, then data. Jansson would build a tree many times as large as the text, and headers of a
 * hundred megabytes are lawful. So only the ends of the object's entries are found here, by
 * counting brackets outside strings, and Jansson is given one entry at a time; what is longer
 * than any tensor's is metadata.
 */
#include <jansson.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/tree/tensors_internal.h"

#define PIECE_BYTES 4096u

static enum tensors_dtype dtype_of(const char *text)
{
	static const struct {
		const char *text;
		enum tensors_dtype dtype;
	} known[] = {
		{"BF16", TENSORS_BF16},	      {"F32", TENSORS_F32},   {"F16", TENSORS_F16},
		{"I8", TENSORS_I8},	      {"U8", TENSORS_U8},     {"F8_E4M3", TENSORS_F8_E4M3},
		{"F8_E5M2", TENSORS_F8_E5M2}, {"F64", TENSORS_F64},   {"I64", TENSORS_I64},
		{"U64", TENSORS_U64},	      {"I32", TENSORS_I32},   {"U32", TENSORS_U32},
		{"I16", TENSORS_I16},	      {"U16", TENSORS_U16},   {"BOOL", TENSORS_BOOL},
		{"C64", TENSORS_C64},	      {"C128", TENSORS_C128},
	};

	for (uint32_t i = 0; text && i < ARRAY_COUNT(known); i++)
		if (strcmp(known[i].text, text) == 0)
			return known[i].dtype;
	return TENSORS_UNKNOWN;
}

static void tell_entry(struct tensors *t, const char *name, size_t name_len, json_t *value)
{
	json_t *offsets = json_object_get(value, "data_offsets");
	json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
	const char *dtype = json_string_value(json_object_get(value, "dtype"));
	json_int_t from = json_integer_value(begin), to = json_integer_value(end);

	if (!json_is_integer(begin) || !json_is_integer(end) || from < 0 || to < from ||
	    (uint64_t)to > t->source.size - t->data_start)
		return;
	tensors_tell(t, &(struct tensors_span){
				.offset = t->data_start + (uint64_t)from,
				.length = (uint64_t)(to - from),
				.dtype = dtype_of(dtype),
				.name = name,
				.name_len = (uint32_t)name_len,
			});
}

/* An entry that was found, `"name": value`, as an object. What is no tensor is passed over. */
static int entry_step(struct tensors *t)
{
	struct safetensors_walk *w = &t->of.safetensors;
	char text[SAFETENSORS_ENTRY_BYTES_MAX + 2];
	uint32_t len = (uint32_t)(w->at - w->entry);
	const void *bytes;

	int rc = tensors_read(t, w->entry, len, &bytes);
	if (rc < 0)
		return rc;
	text[0] = '{';
	memcpy(text + 1, bytes, len);
	text[len + 1] = '}';
	json_t *object = json_loadb(text, len + 2, 0, NULL);
	void *first = json_object_iter(object);
	if (first) {
		const char *name = json_object_iter_key(first);

		tell_entry(t, name, strlen(name), json_object_iter_value(first));
	}
	json_decref(object);
	w->is_found = false;
	w->entry = ++w->at;
	return w->is_last;
}

/* Up to the end of the entry under way, of the piece, or of the header. */
static void scan(struct safetensors_walk *w, const uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++, w->at++) {
		uint8_t c = bytes[i];

		if (w->in_string) {
			bool ends = c == '"' && !w->is_escaped;

			w->is_escaped = c == '\\' && !w->is_escaped;
			w->in_string = !ends;
		} else if (c == '"') {
			w->in_string = true;
		} else if (w->depth == 1 && (c == ',' || c == '}')) {
			return;
		} else if (c == '{' || c == '[') {
			w->depth++;
			if (w->depth == 1)
				w->entry = w->at + 1;
		} else if ((c == '}' || c == ']') && w->depth > 0) {
			w->depth--;
		}
	}
}

static int scan_step(struct tensors *t)
{
	struct safetensors_walk *w = &t->of.safetensors;
	uint32_t len = (uint32_t)MIN_OF(w->end - w->at, PIECE_BYTES);
	uint64_t piece = w->at;
	const void *bytes;

	if (len == 0)
		return 1;
	int rc = tensors_read(t, piece, len, &bytes);
	if (rc < 0)
		return rc;
	scan(w, bytes, len);
	if (w->at == piece + len)
		return 0;
	w->is_last = ((const uint8_t *)bytes)[w->at - piece] == '}';
	w->is_found = w->at > w->entry && w->at - w->entry <= SAFETENSORS_ENTRY_BYTES_MAX;
	if (w->is_found)
		return 0;
	w->entry = ++w->at;
	return w->is_last;
}

static int step(struct tensors *t)
{
	return t->of.safetensors.is_found ? entry_step(t) : scan_step(t);
}

bool tensors_safetensors_begins(struct tensors *t, const uint8_t *head)
{
	struct rd r = rd_init(head, TENSORS_HEAD_BYTES);
	uint64_t len = rd_u64(&r);

	if (t->source.size < 10 || len < 2 || len > t->source.size - 8 || rd_u8(&r) != '{')
		return false;
	t->format = TENSORS_OF_SAFETENSORS;
	t->data_start = 8 + len;
	t->of.safetensors = (struct safetensors_walk){
		.at = 8, .end = 8 + MIN_OF(len, TENSORS_HEADER_BYTES_MAX)};
	t->step = step;
	return true;
}
