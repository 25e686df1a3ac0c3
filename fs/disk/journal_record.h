/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A journal record: one decided event of the metadata server (I3). It is decided to the last byte:
 * what it holds are the row changes that the event came to, so replay applies and never decides,
 * and new code replays old journals.
 *
 *   header, 48 bytes: 0 4 magic "CRNJ" · 4 4 payload bytes · 8 8 term · 16 8 number ·
 *                    24 8 wall clock, ns · 32 2 event kind (for people and statistics) · 34 2 lag ·
 *                    36 4 change count · 40 8 XXH3-64 of header 0..39 and then the payload
 *   payload: changes, each: op u8 (1 put, 2 delete) · zero u8 · key bytes u16 · value bytes u32 ·
 *            key · value
 *
 * The lag is this number minus the newest durable one when the record was written, 0 if unknown or
 * more than 65,535. It tells a torn tail from a bad middle: a damaged record that a later one calls
 * durable was lost after its sync (refuse); any other was never synced, in whatever order its
 * sectors came out (cut).
 *
 * A sequence is (term, number): numbers rise by one over the life of the file system, terms rise
 * with each start of a metadata server. Pure; threads: any.
 */
#ifndef CAIRN_FS_DISK_JOURNAL_RECORD_H
#define CAIRN_FS_DISK_JOURNAL_RECORD_H

#include "fs/base/bytes.h"

#define JOURNAL_HEADER_BYTES 48u
#define JOURNAL_CHANGE_HEADER_BYTES 8u

struct journal_header {
	uint64_t term;
	uint64_t number;
	uint64_t wall_ns;
	uint32_t payload_len;
	uint32_t change_count;
	uint16_t event_kind;
	uint16_t lag;		/* number - durable at writing; 0: unknown */
};

enum row_op { ROW_PUT = 1, ROW_DELETE = 2 };

struct row_change {
	enum row_op op;
	const uint8_t *key;	/* borrowed */
	uint16_t key_len;
	const uint8_t *value;	/* borrowed; NULL for a delete */
	uint32_t value_len;
};

/* Append one change to a payload being written. */
void journal_change_write(struct wr *w, const struct row_change *change);
/* Read the next change: 1 one was read, 0 the end, -E_MALFORMED. */
must_check int journal_change_read(struct rd *r, struct row_change *out);

/* Fill the header in front of a payload that lies at record + JOURNAL_HEADER_BYTES. */
void journal_record_finish(uint8_t *record, const struct journal_header *h);
/*
 * Decode the record at `bytes` (len = what is left of the file). Returns its whole length, or
 * -E_BAD_MAGIC, -E_CORRUPT, -E_MALFORMED. *payload borrows from bytes.
 */
must_check int journal_record_decode(const void *bytes, size_t len, struct journal_header *out,
				     const uint8_t **payload);

/*
 * A journal file starts with 64 bytes: 0 4 magic "CRNL" · 4 2 version 1 · 6 2 zero · 8 16 cluster
 * id · 24 8 first number · 32 8 term of its creation · 40 16 zero · 56 8 XXH3-64 of 0..55.
 */
#define JOURNAL_FILE_HEADER_BYTES 64u
struct journal_file_header {
	uint8_t cluster[16];
	uint64_t first_number;
	uint64_t term;
};
void journal_file_header_encode(const struct journal_file_header *h,
				uint8_t out[JOURNAL_FILE_HEADER_BYTES]);
must_check int journal_file_header_decode(const uint8_t in[JOURNAL_FILE_HEADER_BYTES],
					  struct journal_file_header *out);

/*
 * A snapshot is all rows in key order at one sequence, from one read transaction:
 *   header, 64 bytes: 0 4 magic "CRNP" · 4 2 version 1 · 6 2 zero · 8 16 cluster id · 24 8 term ·
 *     32 8 number · 40 8 name key · 48 1 hash kind · 49 1 copies · 50 1 min copies · 51 1 zero ·
 *     52 4 incompat · 56 8 XXH3-64 of 0..55
 *     (40 to 55 as in the superblock: a copy elsewhere is enough to make one; 0: not known)
 *   rows: key bytes u16 · zero u16 · value bytes u32 · key · value      (key bytes 0 ends the rows)
 *   trailer, 32 bytes: 0 4 magic "CRNE" · 4 4 zero · 8 8 row count · 16 8 XXH3-64, chained over all
 *   rows
 *     (each row's bytes hashed with the previous value as seed, start 0) · 24 8 XXH3-64 of 0..23
 */
#define SNAPSHOT_HEADER_BYTES 64u
#define SNAPSHOT_TRAILER_BYTES 32u
#define SNAPSHOT_ROW_HEADER_BYTES 8u
struct snapshot_header {
	uint8_t cluster[16];
	uint64_t term;
	uint64_t number;
	uint64_t name_key;
	uint32_t incompat;
	uint8_t hash, copies, min_copies;
};
void snapshot_header_encode(const struct snapshot_header *h, uint8_t out[SNAPSHOT_HEADER_BYTES]);
must_check int snapshot_header_decode(const uint8_t in[SNAPSHOT_HEADER_BYTES],
				      struct snapshot_header *out);
struct snapshot_trailer {
	uint64_t row_count;
	uint64_t checksum;
};
void snapshot_trailer_encode(const struct snapshot_trailer *t, uint8_t out[SNAPSHOT_TRAILER_BYTES]);
must_check int snapshot_trailer_decode(const uint8_t in[SNAPSHOT_TRAILER_BYTES],
				       struct snapshot_trailer *out);

#endif
