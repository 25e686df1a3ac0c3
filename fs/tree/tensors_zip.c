/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zip archives, zip64 as well: what is stored without compression is a span: the array in a member
 * of .npz, the whole member else, as a storage of PyTorch's is. Members are found by the central
 * directory at the end; what lies where is taken from each local header, for the two differ in
 * padding. Which storage has which numbers a pickle says, and pickles are programs: not told.
 */
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/tree/tensors_internal.h"

#define END_BYTES      22u /* without the comment */
#define END_SEARCH_MAX (65535u + END_BYTES)
#define END_PIECE      4096u
#define LOCATOR_BYTES  20u
#define END64_BYTES    56u
#define ENTRY_BYTES    46u
#define LOCAL_BYTES    30u
#define TEXT_BYTES_MAX 8192u /* of a name and what is extra; longer: passed over */
#define IS_ENCRYPTED   0x0001u
#define SEE_EXTRA      0xffffffffu /* a number is among what is extra */
#define EXTRA_ZIP64    0x0001u

enum {
	SIGN_LOCAL = 0x04034b50,
	SIGN_ENTRY = 0x02014b50,
	SIGN_END = 0x06054b50,
	SIGN_LOCATOR = 0x07064b50,
	SIGN_END64 = 0x06064b50
};

static tensors_step locator_step, end64_step, entry_step, text_step, local_step, array_step;

/* --- the central directory -------------------------------------------------------------------- */

/* The end record, where these bytes, which begin at `at`, have the last of its kind. */
static bool end_in(struct zip_walk *w, const uint8_t *bytes, uint32_t len, uint64_t at)
{
	for (uint32_t i = len - END_BYTES + 1; i-- > 0;) {
		struct rd r = rd_init(bytes + i, END_BYTES);

		if (rd_u32(&r) != SIGN_END)
			continue;
		rd_view(&r, 8);
		uint32_t size = rd_u32(&r), offset = rd_u32(&r);
		w->at = offset;
		w->end = (uint64_t)offset + size;
		w->entry_at = at + i;
		return true;
	}
	return false;
}

/* Piece by piece from the end of the file; `end` is where the last piece began, or the end. */
static int end_step(struct tensors *t)
{
	struct zip_walk *w = &t->of.zip;
	uint64_t at = w->end > END_PIECE ? w->end - END_PIECE : 0;
	uint32_t len = (uint32_t)MIN_OF(t->source.size - at, END_PIECE + END_BYTES - 1);
	const void *bytes;

	if (len < END_BYTES || t->source.size - at > END_SEARCH_MAX + END_PIECE)
		return 1;
	int rc = tensors_read(t, at, len, &bytes);
	if (rc < 0)
		return rc;
	if (end_in(w, bytes, len, at))
		t->step = w->entry_at >= LOCATOR_BYTES ? locator_step : entry_step;
	else if (at == 0)
		return 1;
	else
		w->end = at;
	return 0;
}

/* Before the end record there may be one that says where that of zip64 is. */
static int locator_step(struct tensors *t)
{
	struct zip_walk *w = &t->of.zip;
	const void *bytes;

	int rc = tensors_read(t, w->entry_at - LOCATOR_BYTES, LOCATOR_BYTES, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, LOCATOR_BYTES);
	t->step = entry_step;
	if (rd_u32(&r) == SIGN_LOCATOR) {
		rd_view(&r, 4);
		w->entry_at = rd_u64(&r);
		t->step = end64_step;
	}
	return 0;
}

static int end64_step(struct tensors *t)
{
	struct zip_walk *w = &t->of.zip;
	const void *bytes;

	int rc = tensors_read(t, w->entry_at, END64_BYTES, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, END64_BYTES);
	if (rd_u32(&r) != SIGN_END64)
		return -E_MALFORMED;
	rd_view(&r, 36);
	uint64_t size = rd_u64(&r);
	w->at = rd_u64(&r);
	if (__builtin_add_overflow(w->at, size, &w->end))
		return -E_MALFORMED;
	t->step = entry_step;
	return 0;
}

/* --- members ---------------------------------------------------------------------------------- */

static bool is_stored(uint32_t flags, uint32_t method, uint64_t packed, uint64_t plain)
{
	return method == 0 && (flags & IS_ENCRYPTED) == 0 && packed == plain && packed > 0;
}

/* The next entry of the directory. Only what is stored is looked at any further. */
static int entry_step(struct tensors *t)
{
	struct zip_walk *w = &t->of.zip;
	const void *bytes;

	if (w->at >= w->end)
		return 1;
	int rc = tensors_read(t, w->at, ENTRY_BYTES, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, ENTRY_BYTES);
	if (rd_u32(&r) != SIGN_ENTRY)
		return -E_MALFORMED;
	rd_view(&r, 4);
	uint32_t flags = rd_u16(&r), method = rd_u16(&r);
	rd_view(&r, 8);
	uint64_t packed = rd_u32(&r), plain = rd_u32(&r);
	w->name_len = rd_u16(&r);
	w->extra_len = rd_u16(&r);
	uint32_t comment_len = rd_u16(&r);
	rd_view(&r, 8);
	w->entry_at = rd_u32(&r);
	w->entry_len = plain;
	uint32_t text_len = w->name_len + w->extra_len;
	if (text_len > 0 && text_len <= TEXT_BYTES_MAX && is_stored(flags, method, packed, plain)) {
		w->text_at = w->at + ENTRY_BYTES;
		t->step = text_step;
	}
	w->at += ENTRY_BYTES + text_len + comment_len;
	return 0;
}

/*
 * Numbers of zip64 stand in this order, those only that are missing in the entry. False: they are
 * not there, or the member is empty.
 */
static bool extra_take(struct zip_walk *w, struct rd *r)
{
	while (rd_left(r) >= 4) {
		uint32_t id = rd_u16(r), len = rd_u16(r);
		const uint8_t *bytes = rd_view(r, len);

		if (!bytes)
			return false;
		if (id != EXTRA_ZIP64)
			continue;
		struct rd e = rd_init(bytes, len);
		if (w->entry_len == SEE_EXTRA) {
			w->entry_len = rd_u64(&e);
			if (rd_u64(&e) != w->entry_len)
				return false;
		}
		if (w->entry_at == SEE_EXTRA)
			w->entry_at = rd_u64(&e);
		return rd_ok(&e) && w->entry_len > 0;
	}
	return true;
}

static int text_step(struct tensors *t)
{
	struct zip_walk *w = &t->of.zip;
	uint32_t len = w->name_len + w->extra_len;
	const void *bytes;

	int rc = tensors_read(t, w->text_at, len, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, len);
	const uint8_t *name = rd_view(&r, w->name_len);
	if (w->name_len > TENSORS_NAME_BYTES_MAX)
		w->name_len = 0;
	memcpy(w->name, name, w->name_len);
	t->step = extra_take(w, &r) ? local_step : entry_step;
	return 0;
}

static void tell(struct tensors *t, uint64_t skip, enum tensors_dtype dtype)
{
	struct zip_walk *w = &t->of.zip;

	tensors_tell(t, &(struct tensors_span){
				.offset = w->entry_at + skip,
				.length = w->entry_len - skip,
				.dtype = dtype,
				.name = w->name,
				.name_len = w->name_len,
			});
	t->step = entry_step;
}

/* Where the data of the member begins. */
static int local_step(struct tensors *t)
{
	static const char suffix[] = ".npy";
	struct zip_walk *w = &t->of.zip;
	const uint32_t suffix_len = sizeof suffix - 1;
	const void *bytes;

	if (w->entry_at > t->source.size || w->entry_len > t->source.size - w->entry_at) {
		t->step = entry_step;
		return 0;
	}
	int rc = tensors_read(t, w->entry_at, LOCAL_BYTES, &bytes);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(bytes, LOCAL_BYTES);
	if (rd_u32(&r) != SIGN_LOCAL)
		return -E_MALFORMED;
	rd_view(&r, 22);
	w->entry_at += LOCAL_BYTES + rd_u16(&r);
	w->entry_at += rd_u16(&r);
	if (w->name_len > suffix_len &&
	    memcmp(w->name + w->name_len - suffix_len, suffix, suffix_len) == 0)
		t->step = array_step;
	else
		tell(t, 0, TENSORS_UNKNOWN);
	return 0;
}

static int array_step(struct tensors *t)
{
	struct zip_walk *w = &t->of.zip;
	uint32_t len = (uint32_t)MIN_OF(w->entry_len, TENSORS_NPY_BYTES);
	enum tensors_dtype dtype;
	const void *bytes;
	uint64_t data;

	int rc = tensors_read(t, w->entry_at, len, &bytes);
	if (rc < 0)
		return rc;
	if (tensors_npy_parse(bytes, len, &data, &dtype) == 0 && data < w->entry_len)
		tell(t, data, dtype);
	else
		tell(t, 0, TENSORS_UNKNOWN);
	return 0;
}

bool tensors_zip_begins(struct tensors *t, const uint8_t *head)
{
	struct rd r = rd_init(head, TENSORS_HEAD_BYTES);

	if (rd_u32(&r) != SIGN_LOCAL)
		return false;
	t->format = TENSORS_OF_ZIP;
	t->of.zip = (struct zip_walk){.end = t->source.size};
	t->step = end_step;
	return true;
}
