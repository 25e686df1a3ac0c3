/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks move between the tiers of this server, by the rules of tier.h. What is cold is found by
 * walking the indexes of all disks but the slowest, what is hot by the gets that made it hot.
 *
 * A move: the record is read and checked, put on the other disk like any block, synced there
 * together with others, and only then forgotten where it was. So at any moment a durable copy is
 * found, and a crash in between leaves the block on two disks, which disks.h bears: the walk meets
 * it, and forgets the copy that the rules do not want. Who is to stay alone was written here, or is
 * read first. What is said of a block meanwhile (touched, in trash) is said of every copy, or
 * carried over before one goes (I9). Keeps I4, I11.
 *
 * Clients go first, and there is a bound of bytes a second.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>

#include "chunk-server/tier.h"
#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "tier"

#define MOVES_MAX     8u   /* records in flight */
#define ROUND_MAX     128u /* moved between two syncs */
#define HOT_MAX	      1024u
#define ROWS_PER_TICK 256u
#define TICK_MS	      10u   /* while there is something to do */
#define REST_MS	      1000u /* else; and how often it is looked how full disks are */
#define PASS_MS_MIN   1000u
#define PASS_MS_MAX   3600000u
#define PASSES	      16u /* in the time in which a block gets cold */
#define COMPACT_DEAD  10u /* percent, of a disk that is full */

/* A block that is to move. */
struct wanted {
	struct block_id id;
	uint32_t from, to;
	bool is_twin;	       /* it is on both, and leaves one */
	struct cs_place place; /* of a twin: that one */
};

struct move {
	struct wanted what;
	struct mover *mover;
	struct cs_get get, check;
	struct cs_put put;
	struct move *next; /* free ones */
};

/* It is on both, and not synced yet on the new one. */
struct moved {
	struct wanted what;
	struct cs_place place; /* where it was */
};

struct mover_sync {
	struct cs_sync sync;
	struct mover *mover;
	uint32_t disk;
	uint64_t generation; /* 0: nothing went there */
	bool is_done;
};

struct mover {
	struct cs_server *server;
	struct loop_timer timer;
	bool is_stopped;
	uint32_t fastest, slowest; /* the numbers of those tiers */

	enum cs_tier_fill fill[DISKS_MAX];
	uint64_t looked_ms, moved_then;
	struct cs_tier_rate rate;

	uint32_t disk; /* that is walked */
	struct block_id at;
	bool is_behind; /* of `at` */
	bool is_walking;
	uint64_t walk_ms; /* the next one begins */

	struct block_id hot[HOT_MAX]; /* a ring */
	uint32_t hot_first, hot_count;

	struct wanted next; /* waits for its turn */
	bool has_next, has_paid;
	struct move moves[MOVES_MAX], *free_moves;
	uint32_t busy;
	struct moved round[ROUND_MAX];
	uint32_t round_count;
	struct mover_sync syncs[DISKS_MAX];
	uint32_t syncing;

	struct cs_tier_stats stats;
};

static void pump(struct mover *m);

static struct cs_store *store_of(const struct mover *m, uint32_t disk)
{
	return m->server->stores[disk];
}

static uint64_t now_ms(const struct mover *m)
{
	return loop_now_ms(m->server->options.loop);
}

/* --- how full they are ---- */

static void look_at_disk(struct mover *m, uint32_t disk)
{
	struct cs_store_stats stats;

	cs_store_stats(store_of(m, disk), &stats);
	uint64_t taken = stats.bytes_total - MIN_OF(stats.bytes_total, stats.bytes_free);
	struct cs_tier_room room = {
		.bytes_total = stats.bytes_total,
		.bytes_live = stats.bytes_stored + stats.bytes_trash,
		.bytes_taken = taken,
		.low_percent = m->server->options.tier_low_percent,
		.high_percent = m->server->options.tier_high_percent,
	};
	cs_disks_set_full(m->server->disks, disk, cs_tier_fill(&room) == CS_TIER_FULL);
	/* What is dead goes by compaction: it is no reason to move what lives. */
	room.bytes_taken -= MIN_OF(taken, stats.bytes_dead);
	m->fill[disk] = cs_tier_fill(&room);
}

static void look_at_disks(struct mover *m)
{
	uint64_t moved = m->stats.bytes_down + m->stats.bytes_up;
	uint64_t passed_ms = now_ms(m) - m->looked_ms;

	if (m->looked_ms != 0 && passed_ms < REST_MS)
		return;
	m->stats.bytes_per_s = (moved - m->moved_then) * 1000 / passed_ms;
	m->moved_then = moved;
	m->looked_ms = now_ms(m);
	for (uint32_t i = 0; i < cs_disks_count(m->server->disks); i++)
		look_at_disk(m, i);
}

/* --- the end of a round ---- */

/* The copy on `from` goes, if the one on `to` stands for it in all. False: not now. */
static bool forget_one(struct mover *m, const struct wanted *w, const struct cs_place *from)
{
	struct cs_store *old_store = store_of(m, w->from), *new_store = store_of(m, w->to);
	struct cs_place old, new;

	/* Which copy is damaged, its quarantine will tell. */
	if (cs_damage_is_reported(m->server, &w->id))
		return false;
	if (cs_store_find(old_store, &w->id, &old) < 0 ||
	    !cs_place_is_at(&old, from->segment, from->offset))
		return false;
	if (cs_store_is_failed(new_store) || cs_store_find(new_store, &w->id, &new) < 0 ||
	    new.generation > cs_store_durable(new_store))
		return false;
	/* Of twins one may have been in trash; both are garbage by now. */
	if (old.trashed_ms != 0 && (!w->is_twin || new.trashed_ms != 0))
		return false;
	if ((new.trashed_ms != 0 || new.touched < old.touched) &&
	    cs_store_touch(new_store, &w->id) < 0)
		return false;
	return cs_store_forget(old_store, &w->id, &old) == 0;
}

static void count_move(struct mover *m, const struct moved *moved)
{
	bool is_down = cs_disks_tier(m->server->disks, moved->what.to) >
		       cs_disks_tier(m->server->disks, moved->what.from);

	if (is_down) {
		m->stats.blocks_down++;
		m->stats.bytes_down += moved->place.length;
		METRIC_ADD(tier_bytes_down, moved->place.length);
	} else {
		m->stats.blocks_up++;
		m->stats.bytes_up += moved->place.length;
		METRIC_ADD(tier_bytes_up, moved->place.length);
	}
}

static void round_end(struct mover *m)
{
	for (uint32_t i = 0; i < m->round_count; i++) {
		const struct moved *moved = &m->round[i];
		if (!m->syncs[moved->what.to].is_done ||
		    !forget_one(m, &moved->what, &moved->place))
			continue;
		if (moved->what.is_twin)
			m->stats.twins++;
		else
			count_move(m, moved);
	}
	m->round_count = 0;
	pump(m);
}

static void synced(struct cs_sync *sync)
{
	struct mover_sync *s = container_of(sync, struct mover_sync, sync);
	struct mover *m = s->mover;

	s->is_done = sync->rc == 0;
	if (--m->syncing == 0)
		round_end(m);
}

static void round_sync(struct mover *m)
{
	uint32_t count = cs_disks_count(m->server->disks);

	m->syncing = 1; /* so that it does not end before all have begun */
	for (uint32_t i = 0; i < count; i++) {
		struct mover_sync *s = &m->syncs[i];
		s->is_done = false;
		if (s->generation == 0)
			continue;
		m->syncing++;
		s->sync = (struct cs_sync){.generation = s->generation, .done = synced};
		s->generation = 0;
		cs_store_sync(store_of(m, i), &s->sync);
	}
	if (--m->syncing == 0)
		round_end(m);
}

/* --- a move ---- */

static void move_end(struct move *move)
{
	struct mover *m = move->mover;

	buf_put(move->get.record);
	move->get.record = NULL;
	move->next = m->free_moves;
	m->free_moves = move;
	m->busy--;
	pump(m);
}

static void move_note(struct move *move, uint64_t generation)
{
	struct mover *m = move->mover;
	struct mover_sync *s = &m->syncs[move->what.to];

	s->generation = MAX_OF(s->generation, MAX_OF(generation, 1u)); /* 0: long durable */
	m->round[m->round_count++] =
		(struct moved){.what = move->what, .place = move->get.place};
}

static void move_checked(struct cs_get *get)
{
	struct move *move = container_of(get, struct move, check);

	if (get->rc == 0)
		move_note(move, get->place.generation);
	else if (get->rc == -E_CORRUPT)
		(void)cs_damage_report(move->mover->server, get->store, &get->id, &get->place);
	buf_put(get->record);
	get->record = NULL;
	move_end(move);
}

/* What was on `to` before shall stay alone: it is read first. */
static void move_check(struct move *move)
{
	move->check = (struct cs_get){.id = move->what.id, .done = move_checked};
	cs_store_get(store_of(move->mover, move->what.to), &move->check);
}

static void move_put(struct cs_put *put)
{
	struct move *move = container_of(put, struct move, put);
	struct mover *m = move->mover;

	if (put->rc == 0 && put->was_there) {
		move_check(move);
		return;
	}
	if (put->rc == 0) {
		move_note(move, put->generation);
	} else if (put->rc == -E_NOSPC) {
		cs_disks_set_full(m->server->disks, move->what.to, true);
	}
	move_end(move);
}

static void move_read(struct cs_get *get)
{
	struct move *move = container_of(get, struct move, get);
	struct cs_server *s = move->mover->server;

	if (get->rc == -E_CORRUPT)
		(void)cs_damage_report(s, get->store, &get->id, &get->place);
	if (get->rc < 0 || get->place.trashed_ms != 0 || move->mover->is_stopped) {
		move_end(move);
		return;
	}
	move->put = (struct cs_put){
		.record = get->record,
		.id = get->id,
		.plain_len = get->place.plain_len,
		.done = move_put,
	};
	cs_store_put(store_of(move->mover, move->what.to), &move->put);
}

static void move_start(struct mover *m, const struct wanted *what)
{
	struct move *move = m->free_moves;

	m->free_moves = move->next;
	m->busy++;
	move->what = *what;
	move->get = (struct cs_get){.id = what->id, .place = what->place, .done = move_read};
	if (!what->is_twin)
		cs_store_get(store_of(m, what->from), &move->get);
	else
		move_check(move);
}

/* --- what is to move ---- */

static bool is_moving(const struct mover *m, const struct block_id *id)
{
	for (uint32_t i = 0; i < m->round_count; i++) {
		if (block_id_equal(&m->round[i].what.id, id))
			return true;
	}
	for (uint32_t i = 0; i < MOVES_MAX; i++) {
		const struct move *move = &m->moves[i];
		bool is_free = false;
		for (const struct move *f = m->free_moves; f != NULL; f = f->next)
			is_free = is_free || f == move;
		if (!is_free && block_id_equal(&move->what.id, id))
			return true;
	}
	return false;
}

/* The nearest tier on that side of `from` that has room. */
static bool find_room(struct mover *m, enum cs_tier_wish wish, struct wanted *w)
{
	const struct cs_disks *disks = m->server->disks;
	uint32_t tier = cs_disks_tier(disks, w->from);

	for (uint32_t steps = 0; steps <= m->slowest; steps++) {
		/* Up goes to the fastest that has room, down to the next slower one. */
		uint32_t to = wish == CS_TIER_UP ? steps : tier + 1 + steps;
		if (wish == CS_TIER_UP ? to >= tier : to > m->slowest)
			return false;
		if (cs_disks_pick(m->server->disks, &w->id, to, &w->to) == 0)
			return true;
	}
	return false;
}

static bool next_hot(struct mover *m, struct wanted *w)
{
	struct cs_server *s = m->server;

	while (m->hot_count > 0) {
		struct cs_place place;
		w->id = m->hot[m->hot_first];
		m->hot_first = (m->hot_first + 1) % HOT_MAX;
		m->hot_count--;
		if (cs_disks_find(s->disks, &w->id, &place, &w->from) == 0 &&
		    place.trashed_ms == 0 &&
		    cs_heat_of(s->heat, &w->id, now_ms(m)) == CS_HOT && !is_moving(m, &w->id) &&
		    find_room(m, CS_TIER_UP, w)) {
			w->is_twin = false;
			return true;
		}
	}
	return false;
}

/* Is it on a slower disk as well, alive if possible? A crash, or a disk that was away, left it. */
static bool find_twin(struct mover *m, const struct wanted *w, struct cs_place *twin,
		      uint32_t *disk)
{
	const struct cs_disks *disks = m->server->disks;
	uint32_t tier = cs_disks_tier(disks, w->from);
	bool is_found = false;

	for (uint32_t i = 0; i < cs_disks_count(disks); i++) {
		struct cs_place place;
		if (cs_disks_tier(disks, i) <= tier || cs_store_is_failed(store_of(m, i)) ||
		    cs_store_find(store_of(m, i), &w->id, &place) < 0 ||
		    (is_found && place.trashed_ms != 0))
			continue;
		*twin = place;
		*disk = i;
		is_found = true;
	}
	return is_found;
}

/*
 * A row of a walk: is it to move? Of two copies one goes: the one in trash, which a sweep met while
 * the other was being written; else the one that the rules do not want.
 */
static bool judge(struct mover *m, const struct cs_place *place, struct wanted *w)
{
	struct cs_server *s = m->server;
	struct cs_place twin;
	uint32_t disk;

	if (is_moving(m, &w->id))
		return false;
	enum cs_tier_wish wish = cs_tier_wish(cs_heat_of(s->heat, &w->id, now_ms(m)),
					      m->fill[w->from]);
	w->is_twin = find_twin(m, w, &twin, &disk);
	if (!w->is_twin)
		return place->trashed_ms == 0 && wish == CS_TIER_DOWN && find_room(m, wish, w);
	if (place->trashed_ms != 0 && twin.trashed_ms != 0)
		return false;
	bool is_kept = place->trashed_ms == 0 && (twin.trashed_ms != 0 || wish != CS_TIER_DOWN);
	w->to = is_kept ? w->from : disk;
	w->from = is_kept ? disk : w->from;
	w->place = is_kept ? twin : *place;
	return true;
}

static void walk_end(struct mover *m)
{
	uint64_t period_ms = cs_heat_period_ms(m->server->heat);

	m->is_walking = false;
	m->walk_ms = now_ms(m) + MIN_OF(MAX_OF(period_ms / PASSES, PASS_MS_MIN), PASS_MS_MAX);
	for (uint32_t i = 0; i < cs_disks_count(m->server->disks); i++) {
		struct cs_store *store = store_of(m, i);
		if (m->fill[i] == CS_TIER_FULL && !cs_store_is_failed(store) &&
		    !cs_store_is_compacting(store))
			cs_store_compact(store, COMPACT_DEAD);
	}
}

static void walk_disk(struct mover *m, uint32_t disk)
{
	m->disk = disk;
	m->at = (struct block_id){{0}};
	m->is_behind = false;
}

static bool next_walked(struct mover *m, struct wanted *w)
{
	struct cs_server *s = m->server;

	for (uint32_t rows = 0; rows < ROWS_PER_TICK && m->is_walking; rows++) {
		struct cs_place place;
		if (m->disk >= cs_disks_count(s->disks)) {
			walk_end(m);
			break;
		}
		struct cs_store *store = store_of(m, m->disk);
		if (cs_disks_tier(s->disks, m->disk) == m->slowest || cs_store_is_failed(store) ||
		    cs_store_next(store, &m->at, m->is_behind, &place) < 0) {
			walk_disk(m, m->disk + 1);
			continue;
		}
		m->is_behind = true;
		w->id = m->at;
		w->from = m->disk;
		if (judge(m, &place, w))
			return true;
	}
	return false;
}

/* One more that may begin now. */
static bool next_wanted(struct mover *m, struct wanted *w)
{
	struct cs_server *s = m->server;

	if (!m->has_next)
		m->has_next = next_hot(m, &m->next) || next_walked(m, &m->next);
	if (!m->has_next)
		return false;
	/* What a record takes at most is close enough; paid once, however often it has to wait. */
	if (!m->has_paid)
		m->has_paid = cs_tier_rate_take(&m->rate, s->options.tier_bytes_per_s,
						RECORD_BYTES_MAX, now_ms(m));
	if (!m->has_paid || !cs_share_take(&s->share, now_ms(m)))
		return false;
	m->has_next = m->has_paid = false;
	*w = m->next;
	return true;
}

/* --- turns ---- */

static void pump(struct mover *m)
{
	struct wanted w;

	if (m->syncing > 0)
		return;
	while (!m->is_stopped && m->busy < MOVES_MAX && m->round_count + m->busy < ROUND_MAX &&
	       next_wanted(m, &w))
		move_start(m, &w);
	if (m->busy == 0 && m->round_count > 0)
		round_sync(m);
}

static void tick(struct loop_timer *timer)
{
	struct mover *m = container_of(timer, struct mover, timer);

	look_at_disks(m);
	if (!m->is_walking && now_ms(m) >= m->walk_ms) {
		m->is_walking = true;
		walk_disk(m, 0);
	}
	pump(m);
	bool is_resting = !m->is_walking && m->hot_count == 0 && !m->has_next;
	loop_timer_start(m->server->options.loop, &m->timer, is_resting ? REST_MS : TICK_MS);
}

/* --- from outside ---- */

void cs_tiers_used(struct cs_server *s, const struct cs_get *get)
{
	struct mover *m = s->mover;
	uint32_t disk = 0;

	if (m == NULL || m->hot_count == HOT_MAX)
		return;
	while (store_of(m, disk) != get->store)
		disk++;
	if (cs_disks_tier(s->disks, disk) == m->fastest ||
	    cs_heat_of(s->heat, &get->id, now_ms(m)) != CS_HOT)
		return;
	m->hot[(m->hot_first + m->hot_count++) % HOT_MAX] = get->id;
}

void cs_tiers_stats(const struct cs_server *s, struct cs_tier_stats *out)
{
	*out = s->mover != NULL ? s->mover->stats : (struct cs_tier_stats){0};
}

int cs_tiers_create(struct cs_server *s)
{
	if (!cs_disks_has_tiers(s->disks))
		return 0;
	struct mover *m = calloc(1, sizeof(*m));
	if (m == NULL)
		return -E_NOMEM;
	s->mover = m;
	m->server = s;
	m->timer.fn = tick;
	m->fastest = UINT32_MAX;
	for (uint32_t i = 0; i < cs_disks_count(s->disks); i++) {
		m->fastest = MIN_OF(m->fastest, cs_disks_tier(s->disks, i));
		m->slowest = MAX_OF(m->slowest, cs_disks_tier(s->disks, i));
		m->syncs[i].mover = m;
	}
	for (uint32_t i = 0; i < MOVES_MAX; i++) {
		m->moves[i].mover = m;
		m->moves[i].next = m->free_moves;
		m->free_moves = &m->moves[i];
	}
	loop_timer_start(s->options.loop, &m->timer, 0);
	return 0;
}

void cs_tiers_stop(struct cs_server *s)
{
	if (s->mover == NULL)
		return;
	s->mover->is_stopped = true;
	loop_timer_stop(s->options.loop, &s->mover->timer);
}

bool cs_tiers_is_idle(const struct cs_server *s)
{
	return s->mover == NULL || (s->mover->busy == 0 && s->mover->syncing == 0);
}

void cs_tiers_destroy(struct cs_server *s)
{
	if (s->mover == NULL)
		return;
	cs_tiers_stop(s);
	for (uint32_t i = 0; i < MOVES_MAX; i++)
		buf_put(s->mover->moves[i].get.record);
	free(s->mover);
	s->mover = NULL;
}
