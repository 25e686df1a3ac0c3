/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tier on a real loop with workers: several files fill, seal and are read at once, and their
 * places are evicted. For the thread sanitizer above all.
 */
#include <fcntl.h>

#include "tests/check_main.h"
#include "tests/scratch.h"
#include "tests/tier_world.h"

#define FILES 12u

struct job {
	struct root root;
	struct tier_file *file;
	uint8_t *bytes;
	struct iovec iov;
	struct tier_io io;
	uint64_t at;
	uint32_t laps;
};

static struct scratch scratch;
static struct loop *loop;
static struct tiers *tiers;
static struct job jobs[FILES];
static uint32_t running;
static struct loop_timer timer;

static void begin_lap(struct job *job);

static void stopped(void *arg unused_arg)
{
	loop_uv_stop(loop);
}

static void end_lap(struct job *job)
{
	tier_put(job->file);
	job->file = NULL;
	if (job->laps-- > 1)
		begin_lap(job);
	else if (--running == 0)
		tiers_stop(tiers, stopped, NULL);
}

static void transfer(struct job *job, void (*done)(struct tier_io *io))
{
	uint64_t len = MIN_OF(TIER_PIECE_BYTES, job->root.length - job->at);

	job->iov = (struct iovec){ job->bytes, len };
	job->io = (struct tier_io){ .file = job->file, .offset = job->at, .iov = &job->iov,
				    .iov_count = 1, .done = done, .user = job };
}

static void was_read(struct tier_io *io)
{
	struct job *job = io->user;

	ck_assert_int_eq(io->rc, 0);
	for (uint64_t i = 0; i < job->iov.iov_len; i += 997)
		ck_assert_uint_eq(job->bytes[i], tier_world_byte(&job->root, job->at + i));
	job->at += job->iov.iov_len;
	if (job->at == job->root.length) {
		end_lap(job);
		return;
	}
	transfer(job, was_read);
	tier_read(&job->io);
}

static void was_sealed(void *arg, int rc)
{
	struct job *job = arg;

	ck_assert_int_eq(rc, 0);
	job->at = 0;
	transfer(job, was_read);
	tier_read(&job->io);
}

static void was_written(struct tier_io *io);

static void write_next(struct job *job)
{
	if (job->at == job->root.length) {
		tier_seal(job->file, was_sealed, job);
		return;
	}
	transfer(job, was_written);
	tier_world_bytes(&job->root, job->at, job->bytes, job->iov.iov_len);
	tier_write(&job->io);
}

static void was_written(struct tier_io *io)
{
	struct job *job = io->user;

	ck_assert_int_eq(io->rc, 0);
	job->at += job->iov.iov_len;
	write_next(job);
}

static void begin_lap(struct job *job)
{
	job->at = 0;
	job->file = tiers_find(tiers, &job->root);
	if (job->file != NULL) {
		tier_use(job->file);
		was_sealed(job, 0);
	} else if (tiers_begin(tiers, &job->root, true, &job->file) == 0) {
		write_next(job);
	} else {
		end_lap(job);
	}
}

static void begin_all(struct loop_timer *t)
{
	if (!tiers_is_ready(tiers)) {
		loop_timer_start(loop, t, 1);
		return;
	}
	running = FILES;
	for (uint32_t i = 0; i < FILES; i++)
		begin_lap(&jobs[i]);
}

START_TEST(many_files_at_once)
{
	struct tier_place place = { .directory = scratch.path, .bytes_max = MiB(20) };
	struct tiers_options options = { .places = &place, .place_count = 1, .boot_id = 1,
					 .scrub_bytes_per_s = MiB(100) };

	scratch_init(&scratch);
	ck_assert_int_eq(loop_uv_create(3, &loop), 0);
	options.loop = loop;
	ck_assert_int_eq(tiers_create(&options, &tiers), 0);
	for (uint32_t i = 0; i < FILES; i++) {
		jobs[i].root = tier_world_root(i, MiB(1) + i * 300000);
		jobs[i].bytes = malloc(TIER_PIECE_BYTES);
		jobs[i].laps = 6;
	}
	tiers_start(tiers);
	timer.fn = begin_all;
	loop_timer_start(loop, &timer, 1);
	loop_uv_run(loop);
	tiers_destroy(tiers);
	loop_uv_destroy(loop);
	for (uint32_t i = 0; i < FILES; i++)
		free(jobs[i].bytes);
	scratch_finish(&scratch);
}
END_TEST

TEST_MAIN("tier_threads", tcase_add_test(tc, many_files_at_once))
