/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy's .npy: the length of a header, the text of a Python dictionary, then one array. */
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/tree/tensors_internal.h"

static const char magic[] = "\x93NUMPY";

/* By the text behind the mark of byte order. */
static enum tensors_dtype dtype_of(const char *text, size_t len)
{
	static const struct {
		char text[4];
		enum tensors_dtype dtype;
	} known[] = {
		{"f2", TENSORS_F16},  {"f4", TENSORS_F32},  {"f8", TENSORS_F64},
		{"i1", TENSORS_I8},   {"i2", TENSORS_I16},  {"i4", TENSORS_I32},
		{"i8", TENSORS_I64},  {"u1", TENSORS_U8},   {"u2", TENSORS_U16},
		{"u4", TENSORS_U32},  {"u8", TENSORS_U64},  {"c8", TENSORS_C64},
		{"b1", TENSORS_BOOL}, {"V2", TENSORS_BF16}, {"c16", TENSORS_C128},
	};

	for (uint32_t i = 0; i < ARRAY_COUNT(known); i++)
		if (len == strlen(known[i].text) && memcmp(known[i].text, text, len) == 0)
			return known[i].dtype;
	return TENSORS_UNKNOWN;
}

/* Of what the dictionary has as 'descr', where that is a text and stands where NumPy puts it. */
static enum tensors_dtype dtype_in(const char *text, size_t len)
{
	static const char key[] = "{'descr': '";
	const size_t key_len = sizeof key - 1;

	if (len <= key_len || memcmp(text, key, key_len) != 0)
		return TENSORS_UNKNOWN;
	text += key_len;
	const char *end = memchr(text, '\'', len - key_len);
	if (!end || end == text)
		return TENSORS_UNKNOWN;
	bool is_ordered = memchr("<>|=", *text, 4) != NULL;
	return dtype_of(text + is_ordered, (size_t)(end - text) - is_ordered);
}

int tensors_npy_parse(const void *bytes, uint32_t len, uint64_t *data, enum tensors_dtype *dtype)
{
	struct rd r = rd_init(bytes, len);
	const uint8_t *begin = rd_view(&r, sizeof magic - 1);

	if (!begin || memcmp(begin, magic, sizeof magic - 1) != 0)
		return -E_MALFORMED;
	uint8_t major = rd_u8(&r);
	(void)rd_u8(&r);
	uint64_t text_len = major == 1 ? rd_u16(&r) : rd_u32(&r);
	if (!rd_ok(&r) || major < 1 || major > 3)
		return -E_MALFORMED;
	*data = len - rd_left(&r) + text_len;
	text_len = MIN_OF(text_len, rd_left(&r));
	*dtype = dtype_in((const char *)rd_view(&r, text_len), text_len);
	return 0;
}

static int step(struct tensors *t)
{
	uint32_t len = (uint32_t)MIN_OF(t->source.size, TENSORS_NPY_BYTES);
	enum tensors_dtype dtype;
	const void *bytes;
	uint64_t data;

	int rc = tensors_read(t, 0, len, &bytes);
	if (rc == 0)
		rc = tensors_npy_parse(bytes, len, &data, &dtype);
	if (rc < 0)
		return rc;
	if (data < t->source.size) {
		t->data_start = data;
		tensors_tell(t, &(struct tensors_span){.offset = data,
						       .length = t->source.size - data,
						       .dtype = dtype});
	}
	return 1;
}

bool tensors_npy_begins(struct tensors *t, const uint8_t *head)
{
	if (memcmp(head, magic, sizeof magic - 1) != 0)
		return false;
	t->format = TENSORS_OF_NPY;
	t->step = step;
	return true;
}
