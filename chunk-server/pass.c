/* SPDX-License-Identifier: Apache-2.0 */
/* What passes of all kinds have in common: calendar, position, speed. */
#include "chunk-server/pass.h"

#include <string.h>

#include "fs/base/log.h"

#define LOG_MODULE "pass"

#define SAVE_MS	  5000u
#define SPEED_MS  1000u
#define NS_PER_MS 1000000ull

/* --- the position --- */

static void position_load(struct cs_pass *p)
{
	uint8_t bytes[PASS_STATE_BYTES_MAX];
	int rc = disk_read_file(p->disk, p->kind->file, bytes, p->kind->bytes);

	if (rc == (int)p->kind->bytes)
		rc = pass_state_decode(p->kind, bytes, &p->state);
	else if (rc >= 0)
		rc = -E_MALFORMED;
	if (rc == 0)
		return;
	memset(&p->state, 0, sizeof(p->state));
	if (rc != -E_NOENT)
		log_warn("the position of %s is lost, beginning anew: %s", p->kind->file,
			 error_text(rc));
}

static void save_run(struct loop_work *work)
{
	struct cs_pass *p = container_of(work, struct cs_pass, save_work);

	p->save_rc = disk_replace_file(p->disk, p->kind->file, p->save_bytes, p->kind->bytes);
}

static void save_done(struct loop_work *work)
{
	struct cs_pass *p = container_of(work, struct cs_pass, save_work);

	p->is_saving = false;
	/* Without it a restart looks at some segments once more. */
	if (p->save_rc < 0)
		log_debug("cannot note the position: %s", error_text(p->save_rc));
}

void cs_pass_save(struct cs_pass *p, bool is_urgent)
{
	uint64_t now_ms = loop_now_ms(p->loop);

	if (p->is_saving || p->is_stopped || (!is_urgent && now_ms < p->saved_ms + SAVE_MS))
		return;
	p->saved_ms = now_ms;
	p->is_saving = true;
	pass_state_encode(p->kind, &p->state, p->save_bytes);
	p->save_work.run = save_run;
	p->save_work.done = save_done;
	loop_work(p->loop, &p->save_work);
}

bool cs_pass_is_saving(const struct cs_pass *p)
{
	return p->is_saving;
}

void cs_pass_init(struct cs_pass *p, const struct pass_kind *kind, struct disk *disk,
		  struct loop *loop)
{
	*p = (struct cs_pass){.kind = kind, .disk = disk, .loop = loop};
	position_load(p);
}

void cs_pass_stop(struct cs_pass *p)
{
	if (p->state.pass > 0)
		cs_pass_save(p, true);
	p->is_stopped = true;
}

/* --- the calendar --- */

uint64_t cs_pass_wait_ms(const struct cs_pass *p, uint64_t period_ms)
{
	uint64_t now_ns = loop_wall_ns(p->loop);

	if (p->state.pass == 0 || now_ns < p->state.began_ns) /* never, or the clock was set back */
		return 0;
	uint64_t age_ms = (now_ns - p->state.began_ns) / NS_PER_MS;
	return age_ms >= period_ms ? 0 : period_ms - age_ms;
}

void cs_pass_begin(struct cs_pass *p)
{
	struct pass_state *state = &p->state;

	state->pass++;
	state->is_running = true;
	state->segment = 0;
	state->began_ns = loop_wall_ns(p->loop);
	state->bytes = 0;
}

void cs_pass_end(struct cs_pass *p)
{
	p->state.is_running = false;
	p->state.ended_ns = loop_wall_ns(p->loop);
	cs_pass_save(p, true);
}

/* --- the speed --- */

void cs_pass_note_speed(struct cs_pass *p, uint64_t bytes)
{
	uint64_t now_ms = loop_now_ms(p->loop);

	p->speed_bytes += bytes;
	if (now_ms < p->speed_ms + SPEED_MS)
		return;
	p->bytes_per_s = p->speed_bytes * 1000 / (now_ms - p->speed_ms);
	p->speed_ms = now_ms;
	p->speed_bytes = 0;
}
