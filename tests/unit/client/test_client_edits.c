/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client tells its front of edits suffices to keep a copy of the content: a mirror that
 * does nothing but what on_edit says equals what is read, after every operation.
 */
#include <linux/falloc.h>
#include <stdlib.h>

#include "tests/client_cluster.h"

#define MIRROR_BYTES MiB(1)

static struct mirror {
	uint8_t *bytes, *seen;
	uint64_t size;
	uint64_t copied_at, copied_bytes;	/* to be read */
	uint32_t edits;
} mirror;

static void on_edit(void *arg, const struct cl_edit *edit)
{
	(void)arg;
	mirror.edits++;
	ck_assert_uint_le(edit->offset + edit->length, MIRROR_BYTES);
	ck_assert_uint_le(edit->size, MIRROR_BYTES);
	if (edit->kind == CL_EDIT_BYTES)
		memcpy(mirror.bytes + edit->offset, edit->bytes, edit->length);
	else if (edit->kind == CL_EDIT_ZEROS)
		memset(mirror.bytes + edit->offset, 0, edit->length);
	else if (edit->kind == CL_EDIT_SIZE)
		ck_assert_uint_eq(edit->length, 0);
	if (edit->kind == CL_EDIT_COPIED) {
		mirror.copied_at = edit->offset;
		mirror.copied_bytes = edit->length;
	}
	if (edit->size < mirror.size)
		memset(mirror.bytes + edit->size, 0, mirror.size - edit->size);
	mirror.size = edit->size;
}

static void use_mirror(struct cluster *w, struct cl_options *options)
{
	(void)w;
	options->on_edit = on_edit;
}

static void compare(struct cluster *w, struct client *c, struct cl_handle *h)
{
	if (mirror.copied_bytes)
		ck_assert_int_eq(file_read(w, c, h, mirror.copied_at,
					   mirror.bytes + mirror.copied_at,
					   (uint32_t)mirror.copied_bytes),
				 (int)mirror.copied_bytes);
	mirror.copied_bytes = 0;
	int len = file_read(w, c, h, 0, mirror.seen, MIRROR_BYTES);
	ck_assert_int_eq(len, (int)mirror.size);
	ck_assert_mem_eq(mirror.seen, mirror.bytes, mirror.size);
}

static uint32_t below(uint64_t *x, uint64_t bound)
{
	*x = *x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((*x >> 33) % bound);
}

static void edit_one(struct cluster *w, struct client *c, struct cl_handle *h, uint64_t *x)
{
	static uint8_t bytes[KiB(200)];
	uint64_t at = below(x, KiB(700)), len = 1 + below(x, sizeof bytes);
	struct cl_op op = { .handle = h, .offset = at, .length = len };
	uint32_t what = below(x, 10);
	if (what < 4) {
		file_pattern(bytes, len, *x);
		ck_assert_int_eq(file_write(w, c, h, at, bytes, (uint32_t)len), 0);
		return;
	}
	op.kind = CL_FALLOCATE;
	if (what < 6) {
		op.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	} else if (what == 6) {
		op.flags = FALLOC_FL_ZERO_RANGE;
	} else if (what == 7) {
		op.kind = CL_SETATTR;
		op.set_mask = CL_SET_SIZE;
		op.size = at;
	} else if (what == 8) {
		op.kind = CL_COPY_RANGE;
		op.out_handle = h;
		op.offset = below(x, 4) * BLOCK_BYTES_MAX;
		op.out_offset = op.offset + (4 + below(x, 4)) * BLOCK_BYTES_MAX;
		op.length = MIN_OF(len, KiB(192));
	}
	ck_assert_int_eq(cluster_op(w, c, &op), 0);
}

START_TEST(a_mirror_that_follows_the_edits_equals_the_content)
{
	struct cluster w;
	uint64_t x = 7;
	mirror = (struct mirror){ .bytes = calloc(1, MIRROR_BYTES), .seen = malloc(MIRROR_BYTES) };
	cluster_client_hook = use_mirror;
	cluster_start(&w, 3000);
	struct client *c = cluster_client(&w);
	struct cl_handle *h = file_create(&w, c, "model");
	for (unsigned i = 0; i < 120; i++) {
		edit_one(&w, c, h, &x);
		compare(&w, c, h);
		struct cl_op sync = { .kind = CL_FSYNC, .handle = h };
		if (i % 16 == 15)
			ck_assert_int_eq(cluster_op(&w, c, &sync), 0);
	}
	ck_assert_uint_ge(mirror.edits, 100);
	ck_assert_int_eq(file_close(&w, c, h), 0);
	cluster_client_stop(&w, c);
	cluster_finish(&w);
	cluster_client_hook = NULL;
	free(mirror.bytes);
	free(mirror.seen);
}
END_TEST

TEST_MAIN("client_edits", tcase_set_timeout(tc, 60);
	  tcase_add_test(tc, a_mirror_that_follows_the_edits_equals_the_content))
