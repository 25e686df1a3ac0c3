/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A journal directory whose file holds any bytes is opened or refused; what it holds replays in
 * order (I8).
 */
#include "metadata-server/journal.h"

#include "tests/fuzz/fuzz_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take_record(void *arg, const struct journal_header *h, const uint8_t *payload)
{
	uint64_t *last = arg;

	(void)payload;
	ASSERT(h->number == *last + 1);
	*last = h->number;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_disk d = { .base = { .ops = &FUZZ_DISK_OPS }, .data = data, .size = size,
			       .name = "J-0000000000000001" };
	struct disk *disk = &d.base;
	struct ms_journal_options o = { .disks = &disk, .disk_count = 1, .read_only = true,
					.cluster = { 1, 2, 3 } };
	struct error err = { 0 };
	struct ms_journal *j;
	uint64_t last = 0;

	if (ms_journal_open(&o, &j, &err) < 0)
		return 0;
	if (ms_journal_replay(j, 0, take_record, &last, &err) == 0)
		ASSERT(last == ms_journal_last(j));
	ms_journal_close(j);
	return 0;
}
