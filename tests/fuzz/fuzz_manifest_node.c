/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile node: the input is the plain bytes of the top of a tree. node_view_init() must refuse
 * it, or it can be opened, looked up, edited and sealed without harm. Its digest is right, so only
 * the checks of its content stand between it and the manifest.
 */
#include "fs/tree/manifest.h"
#include "tests/fuzz/fuzz.h"

static int emit(void *arg, const struct block_id *id, const void *bytes, uint32_t len)
{
	(void)arg;
	(void)id;
	(void)bytes;
	return len <= BLOCK_BYTES_MAX ? 0 : -E_INVAL;
}

static void walk(struct manifest *m)
{
	struct extent x = { .length = 0 };

	for (uint64_t at = 0; at < manifest_bytes(m); at = x.offset + x.length) {
		int rc = manifest_lookup(m, at, &x);
		ASSERT(rc == 0 || rc == -E_NEED_NODE);
		if (rc < 0)
			return;
		ASSERT(x.offset <= at && at < x.offset + x.length);
	}
}

static void edit(struct manifest *m, const uint8_t *data, size_t size)
{
	struct extent x = { .length = 1 + data[8], .id = { .bytes = { data[9] } } };
	uint64_t bytes = manifest_bytes(m), at = bytes / 256 * data[size - 2],
		 length = bytes / 256 * data[size - 1];
	struct root root;

	length = length < bytes - at ? length : bytes - at;
	/* any answer; the next calls must survive */
	(void)!manifest_replace(m, at, length, &x, 1);
	(void)!manifest_replace(m, at, length, NULL, 0);
	(void)!manifest_replace(m, manifest_bytes(m), 0, &x, 1);
	walk(m);
	int rc = manifest_seal(m, emit, NULL, &root);
	ASSERT(rc == 0 && root.length == manifest_bytes(m) &&
	       root_data_bytes(&root) == manifest_data_bytes(m));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct root root = { .kind = ROOT_NODE };
	struct node_view view;
	struct extent x;
	struct manifest *m;

	if (size < NODE_HEADER_BYTES + NODE_ENTRY_BYTES || size > BLOCK_BYTES_MAX ||
	    data[5] >= MANIFEST_DEPTH_MAX)
		return 0;
	root.depth = (uint8_t)(data[5] + 1);
	for (int i = 7; i >= 0; i--) {
		root.length = root.length << 8 | data[16 + i];
		root.data = root.data << 8 | data[24 + i];
	}
	struct node_entry said = node_entry_of_root(&root);
	if (node_view_init(&view, data, (uint32_t)size, data[5], &said) < 0)
		return 0;
	block_id_of(HASH_SHA256, data, size, &root.id);
	if (manifest_create(&root, HASH_SHA256, 4, &m) < 0)
		return 0;
	ASSERT(manifest_lookup(m, 0, &x) == -E_NEED_NODE);
	ASSERT(manifest_supply(m, data, (uint32_t)size) == 0);
	walk(m);
	edit(m, data, size);
	manifest_destroy(m);
	return 0;
}
