/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disks and the processor can do: found in each directory, or measured there in the
 * background once the server serves, one disk after the other (calibrate.h); and what heartbeats
 * tell of disks, tiers and codecs.
 */
#include "chunk-server/serve_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chunk-server/calibrate.h"
#include "fs/base/log.h"

#define LOG_MODULE "media"

#define AFTER_START_MS 2000u /* those who wait for us to come back go first */
#define PATH_BYTES     64u   /* of it, its end */

struct cs_media {
	struct cs_server *server;
	struct loop_timer timer;
	struct loop_work work;
	bool is_running, is_stopped;
	uint32_t disk; /* that is looked at */
	int rc;
	struct calibration found[DISKS_MAX];
	bool has[DISKS_MAX];
	uint32_t cores;
};

static void next_disk(struct cs_media *m);

/* --- measuring ---- */

static void disk_run(struct loop_work *work)
{
	struct cs_media *m = container_of(work, struct cs_media, work);
	const struct cs_server_disk *disk = &m->server->options.disks[m->disk];
	struct calibration *c = &m->found[m->disk];
	struct loop *loop = m->server->options.loop;

	m->rc = cs_calibrate_load(disk->disk, disk->media.identity, c);
	if (m->rc == 0)
		return;
	*c = (struct calibration){.device = disk->media.identity,
				  .machine = cs_calibrate_machine(),
				  .measured_ns = loop_wall_ns(loop)};
	m->rc = cs_calibrate_disk(disk->disk, loop, c);
	if (m->rc == 0)
		m->rc = cs_calibrate_codecs(loop, c);
	if (m->rc == 0)
		m->rc = cs_calibrate_store(disk->disk, c);
}

static void disk_done(struct loop_work *work)
{
	struct cs_media *m = container_of(work, struct cs_media, work);
	const struct cs_server_disk *disk = &m->server->options.disks[m->disk];

	m->is_running = false;
	m->has[m->disk] = m->rc == 0;
	if (m->rc < 0)
		log_warn("cannot measure disk '%s': %s", disk->name, error_text(m->rc));
	else
		log_info("disk '%s' reads %llu MB/s; cold blocks there: %s", disk->name,
			 (unsigned long long)m->found[m->disk].read_bytes_per_s / 1000000,
			 codec_aim_name(cs_media_cold_aim(m->server, m->disk)));
	m->disk++;
	next_disk(m);
}

static void next_disk(struct cs_media *m)
{
	struct cs_server *s = m->server;

	while (m->disk < s->options.disk_count &&
	       (m->has[m->disk] || cs_store_is_failed(s->stores[m->disk])))
		m->disk++;
	if (m->is_stopped || m->disk == s->options.disk_count)
		return;
	m->is_running = true;
	m->work = (struct loop_work){.run = disk_run, .done = disk_done};
	loop_work(s->options.loop, &m->work);
}

static void timer_fired(struct loop_timer *timer)
{
	next_disk(container_of(timer, struct cs_media, timer));
}

int cs_media_create(struct cs_server *s)
{
	struct cs_media *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return -E_NOMEM;
	s->media = m;
	m->server = s;
	m->cores = cs_calibrate_cores();
	m->timer.fn = timer_fired;
	for (uint32_t i = 0; i < s->options.disk_count; i++) {
		m->has[i] = s->options.disks[i].calibration != NULL;
		if (m->has[i])
			m->found[i] = *s->options.disks[i].calibration;
	}
	if (s->options.calibrates)
		loop_timer_start(s->options.loop, &m->timer, AFTER_START_MS);
	return 0;
}

void cs_media_stop(struct cs_server *s)
{
	if (s->media == NULL)
		return;
	s->media->is_stopped = true;
	loop_timer_stop(s->options.loop, &s->media->timer);
}

bool cs_media_is_idle(const struct cs_server *s)
{
	return s->media == NULL || !s->media->is_running;
}

void cs_media_destroy(struct cs_server *s)
{
	cs_media_stop(s);
	free(s->media);
	s->media = NULL;
}

enum codec_aim cs_media_cold_aim(const struct cs_server *s, uint32_t disk)
{
	const struct cs_media *m = s->media;

	return cs_calibrate_aim(m != NULL && m->has[disk] ? &m->found[disk] : NULL,
			     s->options.disks[disk].media.kind, m != NULL ? m->cores : 1);
}

/* --- the report ---- */

struct report {
	Wire__MediaStatus status;
	Wire__DiskStatus disks[DISKS_MAX], *disk_list[DISKS_MAX];
	Wire__CodecSpeed codecs[CALIBRATION_CODECS], *codec_list[CALIBRATION_CODECS];
	char paths[DISKS_MAX][PATH_BYTES];
};

static void report_disk(struct cs_server *s, uint32_t index, struct report *r)
{
	const struct cs_server_disk *disk = &s->options.disks[index];
	const struct media_profile *profile = media_profile(disk->media.kind);
	const char *name = disk->name != NULL ? disk->name : "";
	Wire__DiskStatus *out = &r->disks[index];
	struct cs_store_stats stats;
	size_t length = strlen(name);

	cs_store_stats(s->stores[index], &stats);
	wire__disk_status__init(out);
	(void)snprintf(r->paths[index], PATH_BYTES, "%s",
		       name + (length < PATH_BYTES ? 0 : length - PATH_BYTES + 1));
	out->path = r->paths[index];
	out->kind = (char *)(uintptr_t)profile->name;
	out->device = (char *)(uintptr_t)disk->media.device;
	out->tier = disk->tier;
	out->failed = stats.is_failed;
	out->bytes_total = stats.bytes_total;
	out->bytes_free = stats.bytes_free;
	out->bytes_stored = stats.bytes_stored;
	if (s->media->has[index]) {
		out->read_bytes_per_s = s->media->found[index].read_bytes_per_s;
		out->write_bytes_per_s = s->media->found[index].write_bytes_per_s;
	}
	out->cold_codec = (char *)(uintptr_t)codec_aim_name(cs_media_cold_aim(s, index));
	out->queue_depth = profile->queue_depth;
	r->disk_list[index] = out;
}

/* They are of the machine: any disk's will do. */
static void report_codecs(const struct cs_media *m, struct report *r)
{
	uint32_t from = 0;

	while (from < DISKS_MAX && !m->has[from])
		from++;
	for (uint32_t i = 0; from < DISKS_MAX && i < CALIBRATION_CODECS; i++) {
		const struct calibration_codec *codec = &m->found[from].codecs[i];
		Wire__CodecSpeed *out = &r->codecs[r->status.n_codecs];
		if (codec->decode_bytes_per_s == 0 || !codec_is_known(i))
			continue;
		wire__codec_speed__init(out);
		out->name = (char *)(uintptr_t)codec_name((enum codec)i);
		out->encode_bytes_per_s = codec->encode_bytes_per_s;
		out->decode_bytes_per_s = codec->decode_bytes_per_s;
		out->ratio_permille = codec->ratio_permille;
		r->codec_list[r->status.n_codecs++] = out;
	}
}

size_t cs_media_report(struct cs_server *s, uint8_t out[MEDIA_STATUS_BYTES_MAX])
{
	struct report r;
	struct cs_tier_stats moved;

	wire__media_status__init(&r.status);
	r.status.disks = r.disk_list;
	r.status.codecs = r.codec_list;
	for (uint32_t i = 0; i < s->options.disk_count; i++)
		report_disk(s, i, &r);
	r.status.n_disks = s->options.disk_count;
	report_codecs(s->media, &r);
	cs_tiers_stats(s, &moved);
	r.status.cores = s->media->cores;
	r.status.tiers = cs_disks_has_tiers(s->disks);
	r.status.blocks_down = moved.blocks_down;
	r.status.bytes_down = moved.bytes_down;
	r.status.blocks_up = moved.blocks_up;
	r.status.bytes_up = moved.bytes_up;
	r.status.bytes_per_s = moved.bytes_per_s;
	/* The last disks are left out where all do not fit. */
	while (wire__media_status__get_packed_size(&r.status) > MEDIA_STATUS_BYTES_MAX)
		r.status.n_disks--;
	return wire__media_status__pack(&r.status, out);
}
