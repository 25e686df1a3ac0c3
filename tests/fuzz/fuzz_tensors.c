/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of any format, or of none: what its header tells lies within it, and is the same however
 * its bytes come; and cut by that, its blocks are whole, few, and the same from pieces of any
 * length.
 */
#include <stdlib.h>
#include <string.h>

#include "fs/hash/checksum.h"
#include "fs/tree/cut.h"
#include "fs/tree/tensors.h"
#include "tests/fuzz/fuzz.h"

struct file {
	const uint8_t *bytes;
	uint64_t size;
	bool is_slow; /* refuses each read once, and remembers the last */
	uint64_t asked;
	uint64_t told; /* a checksum over all spans */
	struct cut_plan plan;
};

static int read_at(void *arg, uint64_t offset, uint32_t len, const void **bytes)
{
	struct file *file = arg;

	ASSERT(len > 0 && len <= TENSORS_READ_MAX);
	ASSERT(offset < file->size && len <= file->size - offset);
	if (file->is_slow && file->asked != offset + 1) {
		file->asked = offset + 1;
		return -E_NEED_BYTES;
	}
	file->asked = 0;
	*bytes = file->bytes + offset;
	return 0;
}

static void span(void *arg, const struct tensors_span *span)
{
	struct file *file = arg;
	uint64_t numbers[] = {span->offset, span->length, span->dtype, file->told};

	ASSERT(span->length > 0 && span->offset < file->size);
	ASSERT(span->length <= file->size - span->offset && span->dtype < TENSORS_DTYPES);
	file->told = checksum_joined(numbers, sizeof numbers, span->name, span->name_len);
	if (!file->is_slow)
		cut_plan_span(&file->plan, span);
}

static void walk(struct file *file)
{
	struct tensors_source source = {.size = file->size, .read = read_at, .arg = file};
	struct tensors *t = tensors_create(&source, &(struct tensors_sink){span, file});
	int rc;

	ASSERT(t);
	do {
		rc = tensors_walk(t);
	} while (rc == -E_AGAIN || rc == -E_NEED_BYTES);
	ASSERT(rc == 0 && tensors_data_start(t) <= file->size);
	if (!file->is_slow)
		cut_plan_seal(&file->plan, tensors_data_start(t));
	tensors_destroy(t);
}

/* A checksum over all ends of blocks. */
static uint64_t cut_in_pieces(const struct file *file, uint64_t piece)
{
	uint64_t at = 0, ends_told = 0, blocks = 0;
	struct cut cut;

	cut_init(&cut, &file->plan, 0);
	while (at < file->size) {
		uint32_t len = (uint32_t)MIN_OF(piece, file->size - at);
		bool ends;
		uint32_t took = cut_feed(&cut, file->bytes + at, len, &ends);

		ASSERT(took > 0 && took <= BLOCK_BYTES_MAX && (ends || took == len));
		at += took;
		if (ends) {
			ends_told = checksum_seeded(&at, sizeof at, ends_told);
			blocks++;
		}
	}
	ASSERT(at == file->size && blocks <= 3 * (file->size / CUT_TENSOR_BYTES_MIN + 1));
	return ends_told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file file = {.bytes = data, .size = size};

	cut_plan_init(&file.plan);
	walk(&file);
	struct file slow = {.bytes = data, .size = size, .is_slow = true};
	walk(&slow);
	ASSERT(slow.told == file.told);
	uint64_t ends = cut_in_pieces(&file, UINT32_MAX);
	ASSERT(ends == cut_in_pieces(&file, 1000));
	ASSERT(size > 20000 || ends == cut_in_pieces(&file, 1));
	cut_plan_finish(&file.plan);
	return 0;
}
