/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GGUF, versions 1 to 3, little-endian: counts, keys with values, infos of tensors, then data at a
 * multiple of the alignment, which is one of the values. Where data begins is known behind the last
 * info only, and where tensors lie is told from there; so the infos are gone through twice, which
 * needs no memory for them.
 */
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/tree/tensors_internal.h"

#define KEY_BYTES_MAX  4096u
#define DIMENSIONS_MAX 8u
#define ALIGNMENT      32u /* unless a value says otherwise */
#define ALIGNMENT_MAX  (1u << 20)

enum { VALUE_U32 = 4, VALUE_STRING = 8, VALUE_ARRAY = 9, VALUE_TYPES = 13 };

/* Bytes of a value, 0: it says itself. */
static const uint8_t value_bytes[VALUE_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* Numbers of a block, and its bytes. A type that has no block is none, or is no more. */
static const struct type {
	uint16_t numbers, bytes;
	enum tensors_dtype dtype;
} types[] = {
	[0] = {1, 4, TENSORS_F32},	   [1] = {1, 2, TENSORS_F16},
	[2] = {32, 18, TENSORS_Q4_0},	   [3] = {32, 20, TENSORS_Q4_1},
	[6] = {32, 22, TENSORS_Q5_0},	   [7] = {32, 24, TENSORS_Q5_1},
	[8] = {32, 34, TENSORS_Q8_0},	   [9] = {32, 36, TENSORS_Q8_1},
	[10] = {256, 84, TENSORS_Q2_K},	   [11] = {256, 110, TENSORS_Q3_K},
	[12] = {256, 144, TENSORS_Q4_K},   [13] = {256, 176, TENSORS_Q5_K},
	[14] = {256, 210, TENSORS_Q6_K},   [15] = {256, 292, TENSORS_Q8_K},
	[16] = {256, 66, TENSORS_IQ2_XXS}, [17] = {256, 74, TENSORS_IQ2_XS},
	[18] = {256, 98, TENSORS_IQ3_XXS}, [19] = {256, 50, TENSORS_IQ1_S},
	[20] = {32, 18, TENSORS_IQ4_NL},   [21] = {256, 110, TENSORS_IQ3_S},
	[22] = {256, 82, TENSORS_IQ2_S},   [23] = {256, 136, TENSORS_IQ4_XS},
	[24] = {1, 1, TENSORS_I8},	   [25] = {1, 2, TENSORS_I16},
	[26] = {1, 4, TENSORS_I32},	   [27] = {1, 8, TENSORS_I64},
	[28] = {1, 8, TENSORS_F64},	   [29] = {256, 56, TENSORS_IQ1_M},
	[30] = {1, 2, TENSORS_BF16},	   [31] = {32, 18, TENSORS_Q4_0},
	[32] = {32, 18, TENSORS_Q4_0},	   [33] = {32, 18, TENSORS_Q4_0},
	[34] = {256, 54, TENSORS_TQ1_0},   [35] = {256, 66, TENSORS_TQ2_0},
	[36] = {32, 18, TENSORS_IQ4_NL},   [37] = {32, 18, TENSORS_IQ4_NL},
	[38] = {32, 18, TENSORS_IQ4_NL},   [39] = {32, 17, TENSORS_MXFP4},
	[40] = {64, 36, TENSORS_NVFP4},	   [41] = {128, 18, TENSORS_Q1_0},
	[42] = {64, 18, TENSORS_Q2_0},
};

static tensors_step key_step, key_text_step, value_step, info_step, info_text_step;

static uint64_t rd_word(struct rd *r, const struct gguf_walk *w)
{
	return w->word_bytes == 4 ? rd_u32(r) : rd_u64(r);
}

must_check static int skip(struct gguf_walk *w, uint64_t bytes)
{
	if (bytes > w->end - w->at)
		return -E_MALFORMED;
	w->at += bytes;
	return 0;
}

/* A count that stands at `at`, which stays there. */
static int read_word(struct tensors *t, uint64_t *out)
{
	struct gguf_walk *w = &t->of.gguf;
	const void *bytes;

	int rc = tensors_read(t, w->at, w->word_bytes, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, w->word_bytes);
	*out = rd_word(&r, w);
	return 0;
}

/* --- keys and values -------------------------------------------------------------------------- */

static int infos_begin(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;

	w->infos_at = w->at;
	w->infos_left = w->infos;
	t->step = info_step;
	return 0;
}

static int key_step(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	uint64_t len;

	if (w->keys_left == 0)
		return infos_begin(t);
	int rc = read_word(t, &len);
	if (rc < 0)
		return rc;
	if (len > KEY_BYTES_MAX)
		return -E_MALFORMED;
	w->text_len = len;
	t->step = key_text_step;
	return skip(w, w->word_bytes);
}

static int key_text_step(struct tensors *t)
{
	static const char alignment[] = "general.alignment";
	struct gguf_walk *w = &t->of.gguf;
	uint32_t len = (uint32_t)w->text_len;
	const void *bytes;

	int rc = tensors_read(t, w->at, len + 4, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, len + 4);
	const uint8_t *key = rd_view(&r, len);
	w->type = rd_u32(&r);
	w->is_alignment = len == sizeof alignment - 1 && memcmp(key, alignment, len) == 0;
	w->keys_left--;
	t->step = value_step;
	return skip(w, len + 4);
}

/* An array begins: its elements are the values that come. */
static int array_open(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	uint32_t len = 4u + w->word_bytes;
	const void *bytes;

	int rc = tensors_read(t, w->at, len, &bytes);
	if (rc < 0)
		return rc;
	if (w->depth == GGUF_ARRAYS_MAX)
		return -E_MALFORMED;
	struct rd r = rd_init(bytes, len);
	struct gguf_array *array = &w->arrays[w->depth++];
	array->type = rd_u32(&r);
	array->left = rd_word(&r, w);
	return skip(w, len);
}

static int string_pass(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	uint64_t len;

	int rc = read_word(t, &len);
	if (rc < 0)
		return rc;
	rc = skip(w, w->word_bytes);
	return rc < 0 ? rc : skip(w, len);
}

static int alignment_read(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	const void *bytes;

	int rc = tensors_read(t, w->at, 4, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, 4);
	w->alignment = rd_u32(&r);
	return w->alignment && w->alignment <= ALIGNMENT_MAX ? skip(w, 4) : -E_MALFORMED;
}

static int value_pass(struct tensors *t, uint32_t type)
{
	if (type >= VALUE_TYPES)
		return -E_MALFORMED;
	if (type == VALUE_ARRAY)
		return array_open(t);
	if (type == VALUE_STRING)
		return string_pass(t);
	return skip(&t->of.gguf, value_bytes[type]);
}

/* The value of a key, or the next element of the innermost array that is open. */
static int value_step(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	int rc = 0;

	if (w->depth == 0) {
		bool is_array = w->type == VALUE_ARRAY;

		rc = w->is_alignment && w->type == VALUE_U32 ? alignment_read(t)
							     : value_pass(t, w->type);
		if (rc == 0 && !is_array)
			t->step = key_step;
		return rc;
	}
	struct gguf_array *array = &w->arrays[w->depth - 1];
	uint32_t bytes = array->type < VALUE_TYPES ? value_bytes[array->type] : 0;
	if (bytes > 0 && array->left > 0) {
		if (array->left > w->end / bytes)
			return -E_MALFORMED;
		rc = skip(w, array->left * bytes);
		array->left = 0;
	} else if (array->left > 0) {
		rc = value_pass(t, array->type);
		array->left -= rc == 0;
	} else if (--w->depth == 0) {
		t->step = key_step;
	}
	return rc;
}

/* --- infos of tensors ------------------------------------------------------------------------- */

static int infos_end(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	uint64_t data = DIV_CEIL(w->at, w->alignment) * w->alignment;

	if (w->is_telling || data >= t->source.size)
		return 1;
	t->data_start = data;
	w->is_telling = true;
	w->at = w->infos_at;
	w->infos_left = w->infos;
	return 0;
}

static int info_step(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	uint64_t len;

	if (w->infos_left == 0)
		return infos_end(t);
	int rc = read_word(t, &len);
	if (rc < 0)
		return rc;
	if (len > TENSORS_NAME_BYTES_MAX)
		return -E_MALFORMED;
	w->text_len = len;
	t->step = info_text_step;
	return skip(w, w->word_bytes);
}

/* The bytes of so many numbers; 0: no type that is known, or too many. */
static uint64_t bytes_of(uint32_t type, uint64_t numbers)
{
	uint64_t bytes;

	if (type >= ARRAY_COUNT(types) || types[type].numbers == 0 ||
	    __builtin_mul_overflow(DIV_CEIL(numbers, types[type].numbers),
				   (uint64_t)types[type].bytes, &bytes))
		return 0;
	return bytes;
}

static void tell(struct tensors *t, const uint8_t *name, uint64_t numbers, struct rd *r)
{
	struct gguf_walk *w = &t->of.gguf;
	uint32_t type = rd_u32(r);
	uint64_t offset = rd_u64(r), length = bytes_of(type, numbers);

	if (w->is_telling && length > 0 && offset <= t->source.size - t->data_start)
		tensors_tell(t, &(struct tensors_span){
					.offset = t->data_start + offset,
					.length = length,
					.dtype = types[type].dtype,
					.name = (const char *)name,
					.name_len = (uint32_t)w->text_len,
				});
}

/* The name, how many dimensions, these, the type, the offset in the data. */
static int info_text_step(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	uint32_t len = (uint32_t)w->text_len + 4 + DIMENSIONS_MAX * w->word_bytes + 12;
	const void *bytes;

	len = (uint32_t)MIN_OF(len, w->end - w->at);
	int rc = len ? tensors_read(t, w->at, len, &bytes) : -E_MALFORMED;
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, len);
	const uint8_t *name = rd_view(&r, w->text_len);
	uint32_t dimensions = rd_u32(&r);
	uint64_t numbers = 1;
	bool is_too_many = dimensions > DIMENSIONS_MAX;

	for (uint32_t i = 0; i < dimensions && !is_too_many; i++)
		is_too_many = __builtin_mul_overflow(numbers, rd_word(&r, w), &numbers);
	if (is_too_many || rd_left(&r) < 12 || !rd_ok(&r))
		return -E_MALFORMED;
	tell(t, name, numbers, &r);
	w->infos_left--;
	t->step = info_step;
	return skip(w, len - rd_left(&r));
}

/* --- begin ------------------------------------------------------------------------------------ */

/* Counts follow the version: of tensors, of keys. */
static int counts_step(struct tensors *t)
{
	struct gguf_walk *w = &t->of.gguf;
	uint32_t len = 2u * w->word_bytes;
	const void *bytes;

	int rc = tensors_read(t, w->at, len, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, len);
	w->infos = rd_word(&r, w);
	w->keys_left = rd_word(&r, w);
	t->step = key_step;
	return skip(w, len);
}

bool tensors_gguf_begins(struct tensors *t, const uint8_t *head)
{
	struct rd r = rd_init(head, TENSORS_HEAD_BYTES);

	if (memcmp(rd_view(&r, 4), "GGUF", 4) != 0)
		return false;
	uint32_t version = rd_u32(&r);
	if (version < 1 || version > 3)
		return false;
	t->format = TENSORS_OF_GGUF;
	t->of.gguf = (struct gguf_walk){
		.at = 8,
		.end = MIN_OF(t->source.size, TENSORS_HEADER_BYTES_MAX),
		.alignment = ALIGNMENT,
		.word_bytes = version == 1 ? 4 : 8,
	};
	t->step = counts_step;
	return true;
}
