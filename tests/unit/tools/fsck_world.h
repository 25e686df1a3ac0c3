/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small file system on disk, made with the libraries: a metadata directory with a journal, and
 * three chunk directories that hold every block.
 *
 *   /models/a.bin   three blocks under one node      /note   inline      /link   a symbolic link
 */
#ifndef CAIRN_TESTS_FSCK_WORLD_H
#define CAIRN_TESTS_FSCK_WORLD_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chunk-server/format.h"
#include "fs/disk/segment.h"
#include "fs/hash/checksum.h"
#include "fs/placement/map.h"
#include "fs/tree/manifest.h"
#include "metadata-server/dir.h"
#include "metadata-server/format.h"
#include "metadata-server/journal.h"
#include "metadata-server/snapshot.h"
#include "tests/scratch.h"

#define WORLD_SERVERS 3u
#define WORLD_BLOCKS  3u
#define WORLD_KEY     77u
enum world_ino { INO_MODELS = 2, INO_A, INO_NOTE, INO_LINK, INO_LIMIT = 1000 };

struct fsck_world {
	struct scratch scratch;
	struct super super;
	struct loop *loop;
	struct disk *mds, *cs[WORLD_SERVERS];
	struct rows *rows;
	struct ms_txn *txn;
	struct ms_journal *journal;
	struct block_id ids[WORLD_BLOCKS + 1]; /* the last is the node */
	uint64_t offsets[WORLD_BLOCKS + 1];    /* of their records in each segment */
	uint32_t lengths[WORLD_BLOCKS + 1];
	struct root root;
	uint8_t *records[WORLD_BLOCKS + 1];
	uint64_t tail;
};

static inline struct disk *world_disk(struct fsck_world *w, const char *name)
{
	struct disk *disk;

	ck_assert_int_eq(mkdir(scratch_path(&w->scratch, name), 0700), 0);
	ck_assert_int_eq(disk_posix_create(scratch_path(&w->scratch, name), &disk), 0);
	return disk;
}

/* What `txn` holds becomes the next record of the journal. */
static inline void world_commit(struct fsck_world *w)
{
	static uint8_t record[JOURNAL_RECORD_BYTES_MAX];
	struct journal_header h = {
		.term = 1, .number = ms_journal_last(w->journal) + 1, .event_kind = 1};
	int len = ms_txn_event_encode(w->txn, record, sizeof record, &h.change_count);

	ck_assert_int_gt(len, 0);
	h.payload_len = (uint32_t)len;
	h.lag = (uint16_t)(h.number - ms_journal_durable(w->journal));
	journal_record_finish(record, &h);
	ck_assert_int_eq(ms_journal_append(w->journal, record, JOURNAL_HEADER_BYTES + h.payload_len,
					   h.number, 1),
			 0);
	ck_assert_int_eq(ms_journal_sync_now(w->journal), 0);
	ms_txn_event_begin(w->txn);
}

static inline void world_put(struct fsck_world *w, struct ms_key key, const void *value, size_t len)
{
	ms_txn_put(w->txn, key.bytes, key.len, value, (uint32_t)len);
}

static inline void world_name(struct fsck_world *w, inode_no dir, const char *name, inode_no ino,
			      uint32_t type)
{
	struct ms_name n = {(const uint8_t *)name, (uint32_t)strlen(name)};
	struct ms_dir_slot slot = {.dir = dir, .name = n, .ino = ino, .type = type};

	slot.hash = checksum_name(WORLD_KEY, n.bytes, n.len);
	ms_dir_put(w->txn, &slot);
}

static inline struct ms_inode world_inode(inode_no ino, uint32_t mode, uint32_t nlink,
					  uint64_t size)
{
	struct ms_inode i = {
		.attr = {.ino = ino, .mode = mode, .nlink = nlink, .size = size, .version = 1}};

	return i;
}

static inline void world_counters(struct fsck_world *w, uint64_t files)
{
	uint8_t bytes[MS_COUNTERS_BYTES];
	struct ms_counters c = {.files = files,
				.directories = 2,
				.inode_limit = INO_LIMIT,
				.bytes_logical = w->root.length + 4,
				.flags = MS_COUNTERS_PUBLISHED};

	ms_key_counters_encode(&c, bytes);
	world_put(w, ms_key_one(MS_KEY_COUNTERS), bytes, sizeof bytes);
	ms_key_collection_encode(1, bytes);
	world_put(w, ms_key_one(MS_KEY_COLLECTION), bytes, MS_COLLECTION_VALUE_BYTES);
}

static inline void world_names(struct fsck_world *w)
{
	struct ms_inode root = world_inode(INODE_ROOT, S_IFDIR | 0755, 3, MS_DIRECTORY_SIZE);
	struct ms_inode models = world_inode(INO_MODELS, S_IFDIR | 0755, 2, MS_DIRECTORY_SIZE);
	struct ms_inode a = world_inode(INO_A, S_IFREG | 0644, 1, w->root.length);
	struct ms_inode note = world_inode(INO_NOTE, S_IFREG | 0644, 1, 4);
	struct ms_inode link = world_inode(INO_LINK, S_IFLNK | 0777, 1, 4);

	root.parent = models.parent = INODE_ROOT;
	a.attr.root = w->root;
	note.attr.root = (struct root){.kind = ROOT_INLINE, .length = 4};
	ms_inode_put(w->txn, &root);
	ms_inode_put(w->txn, &models);
	ms_inode_put(w->txn, &a);
	ms_inode_put(w->txn, &note);
	ms_inode_put(w->txn, &link);
	world_put(w, ms_key_number(MS_KEY_BYTES, INO_NOTE), "note", 4);
	world_put(w, ms_key_number(MS_KEY_BYTES, INO_LINK), "note", 4);
	world_name(w, INODE_ROOT, "models", INO_MODELS, S_IFDIR);
	world_name(w, INO_MODELS, "a.bin", INO_A, S_IFREG);
	world_name(w, INODE_ROOT, "note", INO_NOTE, S_IFREG);
	world_name(w, INODE_ROOT, "link", INO_LINK, S_IFLNK);
	world_counters(w, 3);
	world_commit(w);
}

static inline void world_map(struct fsck_world *w)
{
	struct pg_row pg = {
		.epoch = 1, .state = PG_CLEAN, .replica_count = 3, .replicas = {1, 2, 3}};
	uint8_t bytes[SERVER_ROW_BYTES_MAX], row[PG_ROW_BYTES_MAX], map[MS_MAP_VALUE_BYTES];

	for (server_no n = 1; n <= WORLD_SERVERS; n++) {
		struct server_row s = {.server = n,
				       .state = SERVER_UP,
				       .disk_count = 1,
				       .weight_bytes = GiB(1),
				       .boot_id = 1,
				       .address = "127.0.0.1:1"};

		memset(s.uuid, (int)n, sizeof s.uuid);
		world_put(w, ms_key_server(n), bytes, server_row_encode(&s, bytes));
	}
	ms_key_map_encode(&(struct ms_map_value){1, WORLD_SERVERS}, map);
	world_put(w, ms_key_one(MS_KEY_MAP), map, sizeof map);
	for (uint32_t i = 0; i < PG_COUNT; i++)
		world_put(w, ms_key_pg((pg_no)i), row, pg_row_encode(&pg, row));
	world_commit(w);
}

/* --- blocks ----------------------------------------------------------------------------------- */

static inline void world_block(struct fsck_world *w, uint32_t index, const void *plain,
			       uint32_t len)
{
	struct codec_scratch *codec = codec_scratch_create();

	w->records[index] = malloc(RECORD_BYTES_MAX);
	w->lengths[index] =
		record_build(codec, HASH_SHA256, CODEC_AIM_LZ4, plain, len, w->records[index]);
	block_id_of(HASH_SHA256, plain, len, &w->ids[index]);
	w->offsets[index] = w->tail;
	w->tail += (w->lengths[index] + 7u) & ~7u;
	codec_scratch_destroy(codec);
}

static inline int world_emit(void *arg, const struct block_id *id, const void *bytes, uint32_t len)
{
	(void)id;
	world_block(arg, WORLD_BLOCKS, bytes, len);
	return 0;
}

static inline void world_file(struct fsck_world *w)
{
	static uint8_t plain[40000];
	struct manifest *m;
	struct root empty = {.kind = ROOT_EMPTY};

	w->tail = SEGMENT_HEADER_BYTES;
	ck_assert_int_eq(manifest_create(&empty, HASH_SHA256, 16, &m), 0);
	for (uint32_t i = 0; i < WORLD_BLOCKS; i++) {
		struct extent e = {.length = sizeof plain};

		for (uint32_t k = 0; k < sizeof plain; k++)
			plain[k] = (uint8_t)((k * 2654435761u + i) >> 13);
		world_block(w, i, plain, sizeof plain);
		e.id = w->ids[i];
		ck_assert_int_eq(manifest_replace(m, manifest_bytes(m), 0, &e, 1), 0);
	}
	ck_assert_int_eq(manifest_seal(m, world_emit, w, &w->root), 0);
	manifest_destroy(m);
}

/* The segment of one server; `sealed` ends it with a footer. */
static inline void world_segment(struct fsck_world *w, uint32_t index, bool sealed)
{
	static const uint8_t zeros[8];
	struct segment_header h = {.number = 1};
	uint8_t bytes[SEGMENT_HEADER_BYTES], footer[4 * SEGMENT_ENTRY_BYTES],
		trailer[SEGMENT_TRAILER_BYTES];
	struct segment_trailer t = {.number = 1, .entry_count = 4, .entries_offset = w->tail};
	struct disk_file *file;

	memcpy(h.cluster, w->super.cluster, UUID_BYTES);
	memset(h.disk, (int)(0x10 + index), UUID_BYTES);
	segment_header_encode(&h, bytes);
	ck_assert_int_eq(disk_open(w->cs[index], "segments/seg-0000000000000001",
				   DISK_WRITE | DISK_CREATE, &file),
			 0);
	ck_assert_int_eq(disk_write(file, bytes, sizeof bytes, 0), 0);
	for (uint32_t i = 0; i <= WORLD_BLOCKS; i++) {
		struct record r;
		struct segment_entry e = {
			.id = w->ids[i], .offset = w->offsets[i], .length = w->lengths[i]};

		ck_assert_int_eq(record_decode_header(w->records[i], &r), 0);
		e.plain_len = r.plain_len;
		e.codec = r.codec;
		segment_entry_encode(&e, footer + i * SEGMENT_ENTRY_BYTES);
		ck_assert_int_eq(disk_write(file, w->records[i], w->lengths[i], w->offsets[i]), 0);
		ck_assert_int_eq(disk_write(file, zeros, (8 - w->lengths[i] % 8) % 8,
					    w->offsets[i] + w->lengths[i]),
				 0);
	}
	t.entries_checksum = checksum_of(footer, sizeof footer);
	segment_trailer_encode(&t, trailer);
	if (sealed) {
		ck_assert_int_eq(disk_write(file, footer, sizeof footer, w->tail), 0);
		ck_assert_int_eq(disk_write(file, trailer, sizeof trailer, w->tail + sizeof footer),
				 0);
	}
	disk_close(file);
}

/* --- all -------------------------------------------------------------------------------------- */

static inline void world_format(struct fsck_world *w)
{
	static const char *const names[WORLD_SERVERS] = {"cs1", "cs2", "cs3"};
	struct ms_format_options o = {.wall_ns = 1};
	struct error err = {0};

	w->super = (struct super){.role = SUPER_METADATA,
				  .hash = HASH_SHA256,
				  .copies = 3,
				  .min_copies = 2,
				  .name_key = WORLD_KEY};
	memset(w->super.cluster, 0xc1, sizeof w->super.cluster);
	o.super = w->super;
	o.config = (struct ms_config){.copies = 3, .min_copies = 2, .name_key = WORLD_KEY};
	w->mds = world_disk(w, "mds");
	ck_assert_int_eq(ms_format(&w->mds, 1, &o, &err), 0);
	for (uint32_t i = 0; i < WORLD_SERVERS; i++) {
		struct super s = w->super;

		s.role = SUPER_CHUNK;
		s.name_key = 0;
		memset(s.directory, (int)(0x10 + i), sizeof s.directory);
		memset(s.server, (int)(i + 1), sizeof s.server);
		w->cs[i] = world_disk(w, names[i]);
		ck_assert_int_eq(cs_format(w->cs[i], &s, &err), 0);
	}
}

static inline void world_init(struct fsck_world *w)
{
	struct ms_journal_options o = {
		.disks = &w->mds, .disk_count = 1, .file_bytes_max = MiB(64)};
	struct error err = {0};

	memset(w, 0, sizeof *w);
	scratch_init(&w->scratch);
	world_format(w);
	world_file(w);
	for (uint32_t i = 0; i < WORLD_SERVERS; i++)
		world_segment(w, i, i == 0);
	ck_assert_int_eq(loop_uv_create(1, &w->loop), 0);
	o.loop = w->loop;
	memcpy(o.cluster, w->super.cluster, sizeof o.cluster);
	ck_assert_int_eq(ms_journal_open(&o, &w->journal, &err), 0);
	ck_assert_int_eq(rows_mem_create(&w->rows), 0);
	ck_assert_int_eq(ms_txn_create(w->rows, &w->txn), 0);
	ms_txn_event_begin(w->txn);
	world_names(w);
	world_map(w);
}

/* A snapshot of what the journal came to, beside the first one. */
static inline void world_snapshot(struct fsck_world *w)
{
	struct snapshot_header h = {.term = 1, .number = ms_journal_last(w->journal)};
	struct rows_snapshot *s;
	uint64_t bytes;

	memcpy(h.cluster, w->super.cluster, sizeof h.cluster);
	ck_assert_int_eq(ms_txn_flush(w->txn), 0);
	ck_assert_int_eq(rows_commit(w->rows), 0);
	ck_assert_int_eq(rows_snapshot_open(w->rows, &s), 0);
	ck_assert_int_eq(ms_snapshot_write(w->mds, s, &h, UINT64_MAX, &bytes), 0);
	ck_assert_int_eq(ms_snapshot_publish(w->mds, &h), 0);
	rows_snapshot_close(s);
}

/* Nothing is open any more: what a check may look at. */
static inline void world_stop(struct fsck_world *w)
{
	if (w->journal)
		ms_journal_close(w->journal);
	w->journal = NULL;
}

static inline void world_finish(struct fsck_world *w)
{
	world_stop(w);
	ms_txn_destroy(w->txn);
	rows_destroy(w->rows);
	for (uint32_t i = 0; i < WORLD_SERVERS; i++)
		disk_destroy(w->cs[i]);
	disk_destroy(w->mds);
	loop_uv_destroy(w->loop);
	for (uint32_t i = 0; i <= WORLD_BLOCKS; i++)
		free(w->records[i]);
	scratch_finish(&w->scratch);
}

/* Turn one byte of a file below the scratch folder. */
static inline void world_flip(struct fsck_world *w, const char *name, uint64_t offset)
{
	int fd = open(scratch_path(&w->scratch, name), O_RDWR | O_CLOEXEC);
	uint8_t byte;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x40;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

#endif
