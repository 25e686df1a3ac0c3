/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulling one block: from the source that listed it, else from any other of its group; proved (I1),
 * then put.
 *
 * As many as may be are in flight; where clients are active, here or at the source, each waits for
 * its turn (share.h).
 */
#include "chunk-server/heal_internal.h"

#include <string.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "heal"

#define REFUSED_PAUSE_MS 50u
#define REFUSED_MAX	 100u /* then another source may be less busy */

static void pull_end(struct heal_pull *pull, bool is_here)
{
	struct heal *heal = pull->heal;
	struct heal_merge *merge = pull->merge;
	struct heal_group *group = &heal->groups[merge->pg];

	buf_put(pull->record);
	pull->record = NULL;
	pull->merge = NULL;
	heal->pull_count--;
	merge->pulls--;
	if (!is_here)
		merge->has_failed = true;
	else if (group->epoch == merge->row.epoch && group->lacking > 0)
		group->lacking--;
	for (uint32_t i = 0; i < HEAL_MERGES_MAX; i++)
		cs_heal_merge_resume(&heal->merges[i]);
}

static void ask(struct heal_pull *pull);

static void ask_next(struct heal_pull *pull)
{
	const struct pg_row *row = &pull->merge->row;

	buf_put(pull->record);
	pull->record = NULL;
	for (uint32_t place = 0; place < pg_row_place_count(row); place++) {
		server_no server = pg_row_server_at(row, place);
		if ((pull->tried >> place & 1) != 0 || server == pull->heal->server->number ||
		    cs_forward_source(pull->heal->server, server) == NULL)
			continue;
		pull->place = place;
		ask(pull);
		return;
	}
	pull_end(pull, false);
}

static void stored(struct cs_put *put)
{
	struct heal_pull *pull = container_of(put, struct heal_pull, put);
	struct heal *heal = pull->heal;

	if (put->rc == -E_NOSPC && loop_now_ms(heal->server->options.loop) >= heal->full_until_ms) {
		log_warn("no room for blocks that are healed: trying again later");
		heal->full_until_ms = loop_now_ms(heal->server->options.loop) + HEAL_FULL_MS;
	}
	if (put->rc == 0) {
		heal->blocks++;
		heal->bytes += pull->record->len;
		METRIC_INC(heal_blocks);
		METRIC_ADD(heal_bytes, pull->record->len);
	}
	pull_end(pull, put->rc == 0);
}

static void verified(struct cs_verify *verify)
{
	struct heal_pull *pull = container_of(verify, struct heal_pull, verify);

	if (verify->rc < 0 || !block_id_equal(&verify->found.id, &pull->id)) {
		log_warn("server %u sent what is not the block",
			 pg_row_server_at(&pull->merge->row, pull->place));
		ask_next(pull);
		return;
	}
	pull->put = (struct cs_put){
		.record = pull->record,
		.id = pull->id,
		.plain_len = verify->found.plain_len,
		.kind = CS_PUT_HEALING,
		.done = stored,
	};
	cs_disks_put(pull->heal->server->disks, &pull->put);
}

static void asked(struct rpc_call *call)
{
	struct heal_pull *pull = container_of(call, struct heal_pull, call);
	struct cs_server *s = pull->heal->server;

	cs_forward_note(s, pg_row_server_at(&pull->merge->row, pull->place), call->rc);
	if (call->rc == -E_OVERLOADED && ++pull->refused < REFUSED_MAX && !pull->heal->is_stopped) {
		pull->tried &= (uint16_t)~(1u << pull->place);
		loop_timer_start(s->options.loop, &pull->timer, REFUSED_PAUSE_MS);
		return;
	}
	if (call->rc < 0 || call->reply_bulk == NULL) {
		ask_next(pull);
		return;
	}
	pull->record = buf_ref(call->reply_bulk);
	pull->verify = (struct cs_verify){.record = pull->record, .done = verified};
	cs_verify_start(s->verifier, &pull->verify);
}

static void ask(struct heal_pull *pull)
{
	struct cs_server *s = pull->heal->server;
	const struct pg_row *row = &pull->merge->row;
	struct rpc_peer *peer = cs_forward_source(s, pg_row_server_at(row, pull->place));
	Wire__Get msg = WIRE__GET__INIT;

	pull->tried |= (uint16_t)(1u << pull->place);
	if (peer == NULL) {
		ask_next(pull);
		return;
	}
	msg.id.data = pull->id.bytes;
	msg.id.len = BLOCK_ID_BYTES;
	msg.background = true;
	pull->call = (struct rpc_call){
		.type = MSG_GET,
		.request = &msg.base,
		.deadline_ms = HEAL_CALL_MS,
		.epoch = row->epoch,
		.done = asked,
	};
	rpc_call(peer, &pull->call);
}

static void timer_fired(struct loop_timer *timer)
{
	ask(container_of(timer, struct heal_pull, timer));
}

static struct heal_pull *free_pull(struct heal *heal)
{
	for (uint32_t i = 0; i < HEAL_PULLS_MAX; i++) {
		if (heal->pulls[i].merge == NULL)
			return &heal->pulls[i];
	}
	return NULL;
}

bool cs_heal_pull_start(struct heal_merge *merge, const struct block_id *id)
{
	struct heal *heal = merge->heal;
	struct cs_server *s = heal->server;
	struct heal_pull *pull = free_pull(heal);

	if (pull == NULL || heal->pull_count >= heal->pulls_max ||
	    !cs_share_take(&s->share, loop_now_ms(s->options.loop))) {
		/* Without one in flight nothing else would go on before the next tick. */
		if (heal->pull_count == 0)
			cs_heal_soon(heal);
		return false;
	}
	heal->pull_count++;
	merge->pulls++;
	*pull = (struct heal_pull){
		.heal = heal, .merge = merge, .id = *id, .place = merge->place};
	pull->timer.fn = timer_fired;
	/* Never to its end in here, also without a peer: the merge is not done with this id yet. */
	if (cs_forward_source(s, pg_row_server_at(&merge->row, merge->place)) != NULL)
		ask(pull);
	else
		loop_timer_start(s->options.loop, &pull->timer, 0);
	return true;
}

void cs_heal_pull_stop(struct heal_pull *pull)
{
	if (pull->merge == NULL || !pull->timer.is_active)
		return;
	loop_timer_stop(pull->heal->server->options.loop, &pull->timer);
	pull_end(pull, false);
}
