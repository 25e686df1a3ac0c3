/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the metadata core is alone: no network, no FUSE. Creates go through ms_step, the
 * overlay, a journal file with one fdatasync per batch, and LMDB, committed as the server does;
 * lookups through ms_step only.
 *
 *   bench_metadata_core [files [batch [folder]]]     200000 files, batches of 64, in /var/tmp
 *
 * Prints: durable creates/s, lookups/s, bytes per file of the LMDB file (names of 20 bytes) and of
 * the journal, and private memory at the end.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/metadata_requests.h"

#define RECORDS_BYTES MiB(8)
#define ROWS_BYTES    MiB(1) /* of records between two commits of the rows, as SERVE_ROWS_BYTES */
#define MAP_BYTES     GiB(8)

struct bench {
	struct ms_config config;
	struct rows *rows;
	struct ms_txn *txn;
	struct ms_state *state;
	int journal;
	uint8_t *records;
	uint32_t records_len;
	uint64_t unkept_bytes;
	uint64_t wall_ns, number, done, failed;
	struct requests requests;
	bool reserve;
};

static double read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A span of wall clock and of our own processor time: the second says what a busy machine hides. */
struct span {
	double wall, cpu;
};

static struct span span_begin(void)
{
	return (struct span){ read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_PROCESS_CPUTIME_ID) };
}

static void span_end(const struct span *s, const char *what, uint64_t count)
{
	double wall = read_clock(CLOCK_MONOTONIC) - s->wall;
	double cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - s->cpu;

	printf("metadata core: %-17s %8.0f /s, %5.2f us of processor each\n", what,
	       (double)count / wall, cpu * 1e6 / (double)count);
}

static void on_effect(void *arg, const struct ms_effect *effect)
{
	struct bench *b = arg;

	if (effect->kind == MS_FX_RESERVE)
		b->reserve = true;
	if (effect->kind != MS_FX_REPLY)
		return;
	b->done++;
	b->failed += effect->reply.rc != 0;
}

static void step(struct bench *b, struct ms_event *event)
{
	struct journal_header h = { .term = 1, .event_kind = (uint16_t)event->kind };
	uint8_t *record = b->records + b->records_len;
	int len;

	event->now_ms = 1000;
	event->wall_ns = b->wall_ns += 1000;
	ms_step(b->state, event, on_effect, b);
	if (ms_txn_event_changes(b->txn) == 0)
		return;
	len = ms_txn_event_encode(b->txn, record, JOURNAL_RECORD_BYTES_MAX, &h.change_count);
	ASSERT(len > 0);
	h.payload_len = (uint32_t)len;
	h.number = ++b->number;
	h.wall_ns = event->wall_ns;
	journal_record_finish(record, &h);
	b->records_len += JOURNAL_HEADER_BYTES + (uint32_t)len;
	ASSERT(b->records_len + JOURNAL_RECORD_BYTES_MAX <= RECORDS_BYTES);
}

static void rows_keep(struct bench *b)
{
	ASSERT(ms_txn_flush(b->txn) == 0 && rows_commit(b->rows) == 0);
	b->unkept_bytes = 0;
}

/* Write and sync what a batch came to; the rows follow now and then. */
static void commit(struct bench *b)
{
	ASSERT(write(b->journal, b->records, b->records_len) == (ssize_t)b->records_len);
	ASSERT(fdatasync(b->journal) == 0);
	b->unkept_bytes += b->records_len;
	b->records_len = 0;
	if (b->unkept_bytes >= ROWS_BYTES)
		rows_keep(b);
}

static void reserve_if_asked(struct bench *b)
{
	if (!b->reserve)
		return;
	b->reserve = false;
	step(b, &(struct ms_event){ .kind = MS_EV_RESERVE });
	commit(b);
	step(b, &(struct ms_event){ .kind = MS_EV_RESERVE, .req.flags = 1 });
}

static void bench_open(struct bench *b, const char *folder)
{
	struct ms_event session = requests_session();
	char path[512];

	b->config = requests_config();
	b->wall_ns = UINT64_C(1700000000000000000);
	snprintf(path, sizeof path, "%s/journal", folder);
	b->journal = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	b->records = malloc(RECORDS_BYTES);
	ASSERT(b->journal >= 0 && b->records);
	snprintf(path, sizeof path, "%s/rows", folder);
	ASSERT(mkdir(path, 0700) == 0);
	ASSERT(rows_lmdb_create(path, MAP_BYTES, &b->rows) == 0 &&
	       ms_txn_create(b->rows, &b->txn) == 0);
	ASSERT(ms_state_format(&b->config, b->txn, b->wall_ns, 0, 0) == 0);
	rows_keep(b);
	ASSERT(ms_state_create(&b->config, b->txn, &b->state) == 0);
	step(b, &(struct ms_event){ .kind = MS_EV_TERM, .req.term = 1 });
	step(b, &session);
	commit(b);
}

static void bench_close(struct bench *b)
{
	ms_state_destroy(b->state);
	ms_txn_destroy(b->txn);
	rows_destroy(b->rows);
	free(b->records);
	close(b->journal);
}

static void remove_all(const char *folder)
{
	static const char *const names[] = {"journal", "rows/data.mdb", "rows/lock.mdb", "rows",
					    ""};
	char path[512];

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		(void)remove(path);	/* which of them exist is the library's matter */
	}
}

static void run(struct bench *b, uint64_t files, uint64_t batch, bool publishes)
{
	for (uint64_t i = 0; i < files; i++) {
		struct ms_event event =
			publishes ? requests_publish(&b->requests, i, INODE_ROOT + 1 + i)
				  : requests_make(&b->requests, i);

		step(b, &event);
		if ((i + 1) % batch == 0 || i + 1 == files)
			commit(b);
		reserve_if_asked(b);
	}
	rows_keep(b);
}

/* What the process holds that no file backs: RssAnon of /proc/self/status. */
static unsigned private_mib(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	unsigned kib = 0;
	char line[256];

	while (status && fgets(line, sizeof line, status))
		if (sscanf(line, "RssAnon: %u", &kib) == 1)
			break;
	if (status)
		fclose(status);
	return kib / 1024;
}

int main(int argc, char **argv)
{
	uint64_t files = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
	uint64_t batch = argc > 2 ? strtoull(argv[2], NULL, 10) : 64;
	static struct bench b;
	char folder[256];
	uint64_t empty_bytes;
	struct span span;

	snprintf(folder, sizeof folder, "%s/bench-metadata-core-XXXXXX",
		 argc > 3 ? argv[3] : "/var/tmp");
	ASSERT(mkdtemp(folder));
	bench_open(&b, folder);
	empty_bytes = rows_bytes(b.rows);
	printf("metadata core: %llu files, batches of %llu\n", (unsigned long long)files,
	       (unsigned long long)batch);
	span = span_begin();
	run(&b, files, batch, false);
	span_end(&span, "durable creates", files);
	span = span_begin();
	run(&b, files, batch, true);
	span_end(&span, "durable publishes", files);
	span = span_begin();
	for (uint64_t i = 0; i < files; i++) {
		struct ms_event event = requests_lookup(&b.requests, i * 2654435761u % files);

		step(&b, &event);
	}
	span_end(&span, "lookups", files);
	printf("metadata core: %.1f bytes a file in LMDB, %.1f in the journal\n",
	       (double)(rows_bytes(b.rows) - empty_bytes) / (double)files,
	       (double)lseek(b.journal, 0, SEEK_CUR) / (double)files);
	printf("metadata core: %u MiB of private memory\n", private_mib());
	ASSERT(b.failed == 0);
	bench_close(&b);
	remove_all(folder);
	return 0;
}
