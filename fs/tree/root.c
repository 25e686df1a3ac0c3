/* SPDX-License-Identifier: Apache-2.0 */
/* The root descriptor's codec; the format is the table in root.h. Each content has one encoding. */
#include "fs/tree/root.h"

#include "fs/base/bytes.h"

static bool root_agrees(const struct root *root)
{
	bool has_id = !block_id_is_zero(&root->id);

	if (root->data > (root->kind == ROOT_NODE ? root->length : 0))
		return false;
	if (root->cutter > 0 && root->kind != ROOT_NODE)
		return false;
	switch (root->kind) {
	case ROOT_EMPTY:
		return root->depth == 0 && root->length == 0 && !has_id;
	case ROOT_INLINE:
		return root->depth == 0 && root->length >= 1 && root->length <= INLINE_BYTES_MAX &&
		       !has_id;
	case ROOT_BLOCK:
		return root->depth == 0 && root->length >= 1 && root->length <= BLOCK_BYTES_MAX &&
		       has_id;
	case ROOT_NODE:
		return root->depth >= 1 && root->depth <= MANIFEST_DEPTH_MAX && root->length >= 1 &&
		       root->length <= FILE_BYTES_MAX && has_id;
	}
	return false;
}

void root_encode(const struct root *root, uint8_t out[ROOT_BYTES])
{
	struct wr w = wr_init(out, ROOT_BYTES);

	wr_u8(&w, (uint8_t)root->kind);
	wr_u8(&w, root->depth);
	wr_u8(&w, root->cutter);
	wr_zeros(&w, 5);
	wr_u64(&w, root->length);
	wr_u64(&w, root->data);
	wr_bytes(&w, root->id.bytes, sizeof root->id.bytes);
	ASSERT(wr_ok(&w));
}

int root_decode(const uint8_t in[ROOT_BYTES], struct root *out)
{
	struct rd r = rd_init(in, ROOT_BYTES);

	*out = (struct root){ .kind = (enum root_kind)rd_u8(&r) };
	out->depth = rd_u8(&r);
	out->cutter = rd_u8(&r);
	rd_zeros(&r, 5);
	out->length = rd_u64(&r);
	out->data = rd_u64(&r);
	rd_bytes(&r, out->id.bytes, sizeof out->id.bytes);
	return rd_done(&r) && root_agrees(out) ? 0 : -E_MALFORMED;
}

bool root_equal(const struct root *a, const struct root *b)
{
	return a->kind == b->kind && a->depth == b->depth && a->cutter == b->cutter &&
	       a->length == b->length && a->data == b->data && block_id_equal(&a->id, &b->id);
}

bool root_is_recut(const struct root *root, const struct root *again)
{
	return root->kind == ROOT_NODE && again->kind == ROOT_NODE &&
	       root->length == again->length && root->data == again->data;
}
