/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast damage is looked for: the reading half of a scrub over real segments, and fsck.cairn's
 * check of a real file system, made for it with the libraries. No network, no FUSE.
 *
 *   bench_integrity [MiB [files [folder]]]     512 MiB of blocks, 100000 files, in /var/tmp
 *
 * Prints: scrub by checksum and by digest, per wall clock and per second of processor time; what a
 * file, a block of a manifest and a byte of content cost fsck; and from these the time for
 * 1,000,000 files and 100 GB of content in three copies.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "chunk-server/scrub_read.h"
#include "chunk-server/store.h"
#include "fs/hash/checksum.h"
#include "fs/tree/manifest.h"
#include "metadata-server/dir.h"
#include "metadata-server/snapshot.h"
#include "tools/fsck.h"
#include "tools/mkfs.h"
#include "tools/remove_tree.h"

#define SEGMENT_BYTES MiB(256)
#define SMALL_BLOCK   512u /* of the file that is all manifest: its bytes hardly count */
#define FIRST_INO     16u

static const uint8_t server_uuid[16] = { 7 };

struct bench {
	char folder[256], mds[300], cs[300];
	struct super super;
	struct disk *mds_disk, *cs_disk;
	uint8_t disk_uuid[16];
	struct rows *rows;
	struct ms_txn *txn;
	struct codec_scratch *codec;
	/* the segment being written */
	struct disk_file *file;
	uint64_t number, tail, records, bytes;
	struct segment_entry *entries;
	uint32_t count;
	uint8_t *buffer; /* records on their way, up to MiB(1) */
	uint32_t buffered;
	uint64_t seed;
	struct ms_counters counters;
};

struct span {
	double wall, cpu;
};

static double read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct span span_begin(void)
{
	return (struct span){ read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_PROCESS_CPUTIME_ID) };
}

static struct span span_end(struct span s)
{
	return (struct span){read_clock(CLOCK_MONOTONIC) - s.wall,
			     read_clock(CLOCK_PROCESS_CPUTIME_ID) - s.cpu};
}

/* --- making a file system --- */

static void segment_flush(struct bench *b)
{
	ASSERT(disk_write(b->file, b->buffer, b->buffered, b->tail) == 0);
	b->tail += b->buffered;
	b->buffered = 0;
}

static void segment_end(struct bench *b)
{
	struct segment_trailer t = { .number = b->number, .entry_count = b->count };
	uint32_t len = b->count * SEGMENT_ENTRY_BYTES;
	uint8_t *footer = malloc(len + SEGMENT_TRAILER_BYTES);

	if (!b->file || !footer)
		return;
	segment_flush(b);
	for (uint32_t i = 0; i < b->count; i++)
		segment_entry_encode(&b->entries[i], footer + i * SEGMENT_ENTRY_BYTES);
	t.entries_offset = b->tail;
	t.entries_checksum = checksum_of(footer, len);
	segment_trailer_encode(&t, footer + len);
	ASSERT(disk_write(b->file, footer, len + SEGMENT_TRAILER_BYTES, b->tail) == 0);
	ASSERT(disk_sync(b->file) == 0);
	disk_close(b->file);
	b->file = NULL;
	free(footer);
}

static void segment_begin(struct bench *b)
{
	struct segment_header h = { .number = ++b->number };
	char name[STORE_NAME_BYTES];

	memcpy(h.cluster, b->super.cluster, sizeof h.cluster);
	memcpy(h.disk, b->disk_uuid, sizeof h.disk);
	ASSERT(disk_open(b->cs_disk, cs_store_segment_name(b->number, name),
			 DISK_WRITE | DISK_CREATE | DISK_EXCLUSIVE, &b->file) == 0);
	segment_header_encode(&h, b->buffer);
	b->buffered = SEGMENT_HEADER_BYTES;
	b->tail = 0;
	b->count = 0;
}

static void block_store(struct bench *b, const struct block_id *id, const void *plain, uint32_t len)
{
	uint32_t bytes;

	if (b->file && (b->tail > SEGMENT_BYTES || b->count == STORE_ENTRIES_MAX))
		segment_end(b);
	if (!b->file)
		segment_begin(b);
	bytes = record_build_named(b->codec, id, CODEC_AIM_RAW, plain, len,
				   b->buffer + b->buffered);
	b->entries[b->count++] = (struct segment_entry){ .id = *id, .offset = b->tail + b->buffered,
							 .length = bytes, .plain_len = len,
							 .codec = CODEC_RAW };
	memset(b->buffer + b->buffered + bytes, 0, RECORD_ALIGN);
	b->buffered += (bytes + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
	b->records++;
	b->bytes += bytes;
	if (b->buffered > MiB(1))
		segment_flush(b);
}

static int emit_node(void *arg, const struct block_id *id, const void *bytes, uint32_t len)
{
	block_store(arg, id, bytes, len);
	return 0;
}

/* A file of `count` blocks of noise. */
static struct root content_make(struct bench *b, uint64_t count, uint32_t block_len)
{
	static uint64_t plain[BLOCK_BYTES_MAX / 8];
	struct root root = { .kind = ROOT_EMPTY };
	struct manifest *m;

	ASSERT(manifest_create(&root, HASH_SHA256, 16, &m) == 0);
	for (uint64_t i = 0; i < count; i++) {
		struct extent e = { .length = block_len };

		for (uint32_t k = 0; k < block_len / 8; k++)
			plain[k] = b->seed =
				b->seed * 6364136223846793005ull + 1442695040888963407ull;
		block_id_of(HASH_SHA256, plain, block_len, &e.id);
		block_store(b, &e.id, plain, block_len);
		ASSERT(manifest_replace(m, manifest_bytes(m), 0, &e, 1) == 0);
	}
	ASSERT(manifest_seal(m, emit_node, b, &root) == 0);
	manifest_destroy(m);
	return root;
}

static void file_put(struct bench *b, inode_no ino, const struct root *root)
{
	char text[32];
	struct ms_inode inode = { .attr = { .ino = ino, .mode = S_IFREG | 0644, .nlink = 1,
					    .version = 1, .uid = 1000, .gid = 1000,
					    .size = root->length, .root = *root } };
	struct ms_dir_slot slot = { .dir = INODE_ROOT, .ino = ino, .type = S_IFREG };

	slot.name.len = (uint32_t)snprintf(text, sizeof text, "file-%015" PRIu64, ino);
	slot.name.bytes = (const uint8_t *)text;
	slot.hash = checksum_name(b->super.name_key, slot.name.bytes, slot.name.len);
	ms_inode_put(b->txn, &inode);
	ms_dir_put(b->txn, &slot);
	b->counters.files++;
	b->counters.bytes_logical += root->length;
	if (b->counters.files % 4096 == 0)
		ASSERT(ms_txn_flush(b->txn) == 0 && rows_commit(b->rows) == 0);
}

static int take_row(void *arg, const struct row *row)
{
	return rows_put(arg, row->key, row->key_len, row->value, row->value_len);
}

static void map_put(struct bench *b)
{
	struct server_row server = { .server = 1, .state = SERVER_UP, .disk_count = 1,
				     .weight_bytes = GiB(1), .boot_id = 1,
				     .address = "127.0.0.1:1" };
	struct pg_row pg = { .epoch = 1, .state = PG_CLEAN, .replica_count = 1, .replicas = { 1 } };
	uint8_t bytes[SERVER_ROW_BYTES_MAX];
	struct ms_key key = ms_key_server(1);

	memcpy(server.uuid, server_uuid, sizeof server.uuid);
	ms_txn_put(b->txn, key.bytes, key.len, bytes, (uint32_t)server_row_encode(&server, bytes));
	for (uint32_t i = 0; i < PG_COUNT; i++) {
		key = ms_key_pg((pg_no)i);
		ms_txn_put(b->txn, key.bytes, key.len, bytes, (uint32_t)pg_row_encode(&pg, bytes));
	}
	key = ms_key_one(MS_KEY_MAP);
	ms_key_map_encode(&(struct ms_map_value){ 1, 1 }, bytes);
	ms_txn_put(b->txn, key.bytes, key.len, bytes, MS_MAP_VALUE_BYTES);
}

static void bench_begin(struct bench *b, const char *top)
{
	struct mkfs_options o = { .metadata_dirs = { b->mds }, .metadata_dir_count = 1, .copies = 1,
				  .hash = HASH_SHA256 };
	const char *const disks[] = { b->cs };
	struct snapshot_header h;
	struct super disk_super;
	uint8_t bytes[SUPER_BYTES];
	struct error err = { 0 };

	snprintf(b->folder, sizeof b->folder, "%s/bench-integrity-XXXXXX", top);
	ASSERT(mkdtemp(b->folder));
	snprintf(b->mds, sizeof b->mds, "%s/mds", b->folder);
	snprintf(b->cs, sizeof b->cs, "%s/cs1", b->folder);
	ASSERT(mkfs_metadata(&o, &b->super, &err) == 0 &&
	       mkfs_server(&b->super, server_uuid, disks, 1, &err) == 0);
	ASSERT(disk_posix_create(b->mds, &b->mds_disk) == 0 &&
	       disk_posix_create(b->cs, &b->cs_disk) == 0);
	ASSERT(disk_read_file(b->cs_disk, SUPER_FILE, bytes, sizeof bytes) == (int)sizeof bytes);
	ASSERT(super_decode(bytes, &disk_super) == 0 && disk_mkdir(b->cs_disk, "segments") == 0);
	memcpy(b->disk_uuid, disk_super.directory, sizeof b->disk_uuid);
	ASSERT(rows_mem_create(&b->rows) == 0);
	ASSERT(ms_snapshot_read(b->mds_disk, 0, &h, take_row, b->rows) == 0 &&
	       rows_commit(b->rows) == 0);
	ASSERT(ms_txn_create(b->rows, &b->txn) == 0);
	b->codec = codec_scratch_create();
	b->entries = calloc(STORE_ENTRIES_MAX, sizeof *b->entries);
	b->buffer = malloc(MiB(1) + 2 * RECORD_BYTES_MAX);
	ASSERT(b->codec && b->entries && b->buffer);
	b->counters = (struct ms_counters){ .directories = 1, .inode_limit = 1u << 30,
					    .flags = MS_COUNTERS_PUBLISHED };
	map_put(b);
}

/* What was put so far becomes the first snapshot, behind which the journal is empty. */
static void state_write(struct bench *b)
{
	struct snapshot_header h = { .number = 0 };
	struct ms_key key = ms_key_one(MS_KEY_COUNTERS);
	uint8_t bytes[MS_COUNTERS_BYTES];
	struct rows_snapshot *s;
	uint64_t written;

	segment_end(b);
	ms_key_counters_encode(&b->counters, bytes);
	ms_txn_put(b->txn, key.bytes, key.len, bytes, sizeof bytes);
	ASSERT(ms_txn_flush(b->txn) == 0 && rows_commit(b->rows) == 0);
	memcpy(h.cluster, b->super.cluster, sizeof h.cluster);
	ASSERT(rows_snapshot_open(b->rows, &s) == 0);
	ASSERT(ms_snapshot_write(b->mds_disk, s, &h, UINT64_MAX, &written) == 0);
	rows_snapshot_close(s);
	ASSERT(ms_snapshot_publish(b->mds_disk, &h) == 0);
}

static void bench_end(struct bench *b)
{
	ms_txn_destroy(b->txn);
	rows_destroy(b->rows);
	disk_destroy(b->mds_disk);
	disk_destroy(b->cs_disk);
	codec_scratch_destroy(b->codec);
	free(b->entries);
	free(b->buffer);
	ASSERT(remove_tree(b->folder, NULL) == 0);
}

/* --- scrub --- */

static void scrub_batch(struct cs_scrub_reader *r)
{
	cs_scrub_check(r);
	for (uint32_t i = 0; i < r->item_count; i++)
		ASSERT(r->items[i].rc == 0);
	r->item_count = 0;
}

static void scrub(const struct bench *b, bool is_deep)
{
	struct cs_scrub_reader *r = calloc(1, sizeof *r);
	struct span s = span_begin();

	ASSERT(r && cs_scrub_reader_init(r, b->cs_disk, HASH_SHA256) == 0);
	r->is_deep = is_deep;
	for (uint64_t number = 1; number <= b->number; number++) {
		ASSERT(cs_scrub_open(r, number) == 0);
		for (uint32_t i = 0; i < r->entry_count; i++) {
			r->items[r->item_count++] =
				(struct cs_scrub_item){ .entry = r->entries[i], .segment = number };
			if (r->item_count == SCRUB_ITEMS_MAX)
				scrub_batch(r);
		}
		scrub_batch(r);
	}
	cs_scrub_reader_finish(r);
	free(r);
	s = span_end(s);
	printf("scrub %-20s %8.2f GB/s  %8.2f GB/s a core\n",
	       is_deep ? "by digest (deep)" : "by checksum", (double)b->bytes / s.wall / 1e9,
	       (double)b->bytes / s.cpu / 1e9);
}

/* --- fsck --- */

static double fsck(const struct bench *b)
{
	struct fsck_options o = { .metadata_dirs = { b->mds }, .metadata_dir_count = 1,
				  .disk_dirs = { b->cs }, .disk_count = 1,
				  .scratch_dir = b->folder };
	struct fsck_result result;
	struct error err = { 0 };
	struct span s = span_begin();
	int rc = fsck_check(&o, &result, &err);

	s = span_end(s);
	if (rc < 0 || result.fault_count)
		json_dumpf(result.json, stderr, JSON_INDENT(2));
	ASSERT(rc == 0 && result.fault_count == 0);
	fsck_result_finish(&result);
	return s.cpu;
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 512;
	uint64_t files = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
	static struct bench b;
	struct root root;
	double empty, named, listed, full, per_file, per_block, per_byte, cores;

	bench_begin(&b, argc > 3 ? argv[3] : "/var/tmp");
	state_write(&b);
	empty = fsck(&b);
	root = (struct root){ .kind = ROOT_EMPTY };
	for (uint64_t i = 0; i < files; i++)
		file_put(&b, FIRST_INO + i, &root);
	state_write(&b);
	named = fsck(&b);
	root = content_make(&b, files, SMALL_BLOCK);
	file_put(&b, FIRST_INO + files, &root);
	state_write(&b);
	listed = fsck(&b);
	root = content_make(&b, mib * 16, BLOCK_BYTES_MAX);
	file_put(&b, FIRST_INO + files + 1, &root);
	state_write(&b);
	full = fsck(&b);
	scrub(&b, false);
	scrub(&b, true);
	per_file = (named - empty) / (double)files;
	per_block = (listed - named) / (double)files;
	per_byte =
		MAX_OF(full - listed - per_block * (double)mib * 16, 0.0) / ((double)mib * MiB(1));
	cores = per_file * 1e6 + 3 * (per_block * 1e11 / BLOCK_BYTES_MAX + per_byte * 1e11);
	printf("fsck  %.1f us a file, %.1f us a block, %.2f GB/s of records, of processor time\n",
	       per_file * 1e6, per_block * 1e6, 1e-9 / per_byte);
	printf("fsck  1,000,000 files: %.0f s; manifests of 100 GB: %.0f s; with three copies of "
	       "every byte: %.0f s\n",
	       per_file * 1e6, per_block * 1e11 / BLOCK_BYTES_MAX, cores);
	bench_end(&b);
	return 0;
}
