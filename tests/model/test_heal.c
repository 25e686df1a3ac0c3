/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of placement groups against servers that really hold something: sets of 64 blocks in
 * each of some groups. Servers come, fall silent, return, lose blocks, are drained and removed;
 * replicas merge one source at a time; the metadata server restarts. A row never becomes clean
 * unless its replicas hold all that its servers held which were not gone, and nobody leaves a row
 * before the replicas hold what it held, unless it was removed. In the end, with all servers there
 * and idle, everything becomes clean.
 */
#include "tests/heal_world.h"

#include "tests/check_main.h"

#define GROUPS	 48u /* that hold blocks: every 85th */
#define GROUP(i) ((i) * (PG_COUNT / GROUPS))
#define STEPS	 500u

/* What server s knows and holds of group i. */
struct held {
	uint64_t blocks;
	uint64_t owed;	/* that others note it lacks; it gets them when it is there */
	uint64_t epoch; /* under which `merged` holds */
	uint32_t merged;
};

static struct held held[HEAL_WORLD_SERVERS_MAX + 1][GROUPS];
static bool is_removed[HEAL_WORLD_SERVERS_MAX + 1];
static uint64_t acknowledged[HEAL_WORLD_SERVERS_MAX +
			     1]; /* content number that a heartbeat was answered for */
static struct pg_row seen[GROUPS];
static uint64_t random_state;

static uint32_t pick(uint32_t below)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % below;
}

static server_no pick_server(void)
{
	return 1 + pick(server_count);
}

static bool is_there(server_no s)
{
	return !servers[s].is_silent && !is_removed[s];
}

static bool is_gone(server_no s)
{
	enum server_state state = state_of(s);

	/* A drained one that is silent may be gone or not: the model does not judge it. */
	return state == SERVER_OUT || state == SERVER_REMOVED ||
	       (state == SERVER_DRAINED && servers[s].is_silent);
}

/* Does the metadata server know all that this one lost? */
static bool is_honest(server_no s)
{
	return acknowledged[s] == servers[s].content;
}

static server_no server_at(const struct pg_row *row, uint32_t place)
{
	return place < row->replica_count ? row->replicas[place]
					  : row->formers[place - row->replica_count];
}

static uint32_t place_count(const struct pg_row *row)
{
	return (uint32_t)row->replica_count + row->former_count;
}

/* --- the law ---- */

/* All replicas of `row` that can be held to it have what `from` has. */
static void check_merged(const struct pg_row *row, uint32_t i, server_no from, const char *what)
{
	for (uint32_t k = 0; k < row->replica_count; k++) {
		server_no r = row->replicas[k];
		uint64_t lacks = held[from][i].blocks & ~held[r][i].blocks & ~held[r][i].owed;

		if (r != from && !is_gone(r) && is_honest(r))
			ck_assert_msg(lacks == 0, "%s: group %u: replica %u lacks %lx of server %u",
				      what, GROUP(i), r, (unsigned long)lacks, from);
	}
}

static void check_row(uint32_t i)
{
	const struct pg_row *old = &seen[i], *row = row_of(GROUP(i));

	ck_assert_uint_ge(row->epoch, old->epoch);
	if (row->epoch == old->epoch) {
		ck_assert(memcmp(row, old, sizeof *row) == 0);
		return;
	}
	for (uint32_t k = 0; k < place_count(old); k++) {
		server_no s = server_at(old, k);

		if (old->state == PG_DEGRADED && row->state == PG_CLEAN && !is_gone(s))
			check_merged(row, i, s, "clean");
		if (place_of(row, s) == UINT32_MAX && !is_removed[s])
			check_merged(old, i, s, "left");
	}
	seen[i] = *row;
}

static void check_rows(void)
{
	for (uint32_t i = 0; i < GROUPS; i++)
		check_row(i);
}

/* --- what servers do ---- */

static void put(void)
{
	uint32_t i = pick(GROUPS), there = 0;
	const struct pg_row *row = row_of(GROUP(i));
	uint64_t block = UINT64_C(1) << pick(64);

	for (uint32_t k = 0; k < row->replica_count; k++)
		there += is_there(row->replicas[k]);
	if (there < w.config.min_copies)
		return;
	for (uint32_t k = 0; k < row->replica_count; k++) {
		struct held *h = &held[row->replicas[k]][i];

		if (is_there(row->replicas[k]))
			h->blocks |= block;
		else
			h->owed |= block;
	}
}

/* Replica r compares itself with one other server of the row, and gets what it lacks. */
static void merge(server_no r, uint32_t i, uint32_t place)
{
	const struct pg_row *row = row_of(GROUP(i));
	struct held *h = &held[r][i];
	server_no from = server_at(row, place);

	if (row->state != PG_DEGRADED || !is_there(from) || !is_honest(from) || from == r)
		return;
	if (h->epoch != row->epoch) {
		h->epoch = row->epoch;
		h->merged = 0;
	}
	h->blocks |= held[from][i].blocks;
	h->merged |= 1u << place;
}

static void merge_some(uint32_t tries)
{
	for (uint32_t n = 0; n < tries; n++) {
		uint32_t i = pick(GROUPS);
		const struct pg_row *row = row_of(GROUP(i));
		server_no r = row->replica_count ? row->replicas[pick(row->replica_count)] : 0;

		if (r && is_there(r))
			merge(r, i, pick(place_count(row)));
	}
}

/* Replicas give what they noted, as far as they have it; nobody owes to who is no replica any more.
 */
static void repay(server_no s)
{
	for (uint32_t i = 0; i < GROUPS; i++) {
		const struct pg_row *row = row_of(GROUP(i));

		for (uint32_t k = 0; pg_row_has(row, s) && k < row->replica_count; k++)
			if (is_there(row->replicas[k]))
				held[s][i].blocks |=
					held[s][i].owed & held[row->replicas[k]][i].blocks;
		held[s][i].owed = 0;
	}
}

/* Groups that hold nothing are merged with whoever is there. */
static void tell_empty_group(server_no s, uint32_t pg)
{
	const struct pg_row *row = row_of(pg);
	uint32_t sources = 0;

	if (row->state != PG_DEGRADED || !pg_row_has(row, s))
		return;
	for (uint32_t k = 0; k < place_count(row); k++)
		if (is_there(server_at(row, k)))
			sources |= 1u << k;
	tell_merged(s, pg, sources);
}

static void send_heartbeat(server_no s)
{
	servers[s].merged_count = 0;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		if (pg % (PG_COUNT / GROUPS) != 0 || pg >= GROUP(GROUPS))
			tell_empty_group(s, pg);
	for (uint32_t i = 0; i < GROUPS; i++)
		if (row_of(GROUP(i))->epoch == held[s][i].epoch)
			tell_merged(s, GROUP(i), held[s][i].merged);
	ck_assert_int_eq(beat(s), 0);
	acknowledged[s] = servers[s].content;
}

static void send_heartbeats(void)
{
	for (server_no s = 1; s <= server_count; s++)
		if (is_there(s) && pick(4))
			send_heartbeat(s);
}

/* --- what happens to them ---- */

static void forget_merged(server_no s)
{
	for (uint32_t i = 0; i < GROUPS; i++)
		held[s][i].epoch = held[s][i].merged = 0;
}

/* It lost blocks, and will tell another number. */
static void lose(server_no s)
{
	for (uint32_t i = 0; i < GROUPS; i++)
		held[s][i].blocks &= ~(UINT64_C(1) << pick(64)) & ~(UINT64_C(1) << pick(64));
	servers[s].content = 1000 + pick(1u << 30);
	forget_merged(s);
}

static void come_back(server_no s)
{
	if (!servers[s].is_silent || is_removed[s])
		return;
	servers[s].is_silent = false;
	forget_merged(s);
	if (pick(3) == 0)
		lose(s);
	ck_assert_int_eq(join(s), 0);
	acknowledged[s] = servers[s].content;
	repay(s);
}

static void administer(server_no s)
{
	enum server_state to[] = {SERVER_DRAINED, SERVER_UP, SERVER_REMOVED};
	uint32_t at = pick(3);
	bool force = pick(8) == 0;

	if (to[at] == SERVER_REMOVED && server_count < 6)
		return; /* enough are to be left for a put */
	if (set_state(s, to[at], force) == 0 && to[at] == SERVER_REMOVED)
		is_removed[s] = true;
}

static void happen(void)
{
	server_no s = pick_server();

	switch (pick(12)) {
	case 0:
		servers[s].is_silent = true;
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		come_back(s);
		break;
	case 5:
		if (is_there(s))
			lose(s);
		break;
	case 6:
		administer(s);
		break;
	case 7:
		if (pick(8) == 0) {
			world_restart(&w);
			memset(acknowledged, 0, sizeof acknowledged);
		}
		break;
	case 8:
		if (server_count < 9 && pick(10) == 0)
			join_new();
		break;
	default:
		break;
	}
}

static void step(void)
{
	uint32_t pieces = 1 + pick(6);

	happen();
	check_rows();
	for (uint32_t n = pick(20); n > 0; n--)
		put();
	merge_some(pick(4) ? 20 : 400);
	send_heartbeats();
	check_rows();
	world_tick(&w, pick(20) ? 300 + pick(1200) : 4000);
	for (; pieces > 0; pieces--) {
		check_rows();
		world_tick(&w, 0);
	}
	check_rows();
}

/* Everybody is there, undisturbed: nothing is left to do after a while. */
static void settle(void)
{
	for (server_no s = 1; s <= server_count; s++) {
		come_back(s);
		check_rows();
	}
	for (uint32_t n = 0; n < 60 && counts().pgs_healing > 0; n++) {
		for (uint32_t i = 0; i < GROUPS; i++)
			for (uint32_t k = 0; k < row_of(GROUP(i))->replica_count; k++)
				for (uint32_t place = 0; place < place_count(row_of(GROUP(i)));
				     place++)
					merge(row_of(GROUP(i))->replicas[k], i, place);
		for (server_no s = 1; s <= server_count; s++)
			if (is_there(s))
				send_heartbeat(s);
		world_tick(&w, 600);
		for (uint32_t k = 0; k < 8; k++)
			world_tick(&w, 0);
		check_rows();
	}
	ck_assert_uint_eq(counts().pgs_healing, 0);
	ck_assert_uint_eq(counts().pgs_waiting, 0);
	for (uint32_t i = 0; i < GROUPS; i++)
		for (uint32_t k = 1; k < row_of(GROUP(i))->replica_count; k++)
			ck_assert_uint_eq(held[row_of(GROUP(i))->replicas[k]][i].blocks,
					  held[row_of(GROUP(i))->replicas[0]][i].blocks);
}

/* One file of blocks: from now on servers may hold what is needed. */
static void publish(void)
{
	session_no s = world_session(&w);
	struct ms_request req =
		world_publish(s, world_made(&w, s, INODE_ROOT, "f", S_IFREG | 0600), 1, "");

	req.root = (struct root){.kind = ROOT_BLOCK, .length = 1000, .id = {.bytes = {1}}};
	ck_assert_int_eq(world_rc(&w, req), 0);
}

static void begin(uint64_t seed)
{
	random_state = seed;
	memset(held, 0, sizeof held);
	memset(is_removed, 0, sizeof is_removed);
	memset(seen, 0, sizeof seen);
	heal_world_init(4, 1);
	for (server_no s = 1; s <= server_count; s++)
		acknowledged[s] = servers[s].content;
	publish();
	check_rows();
}

START_TEST(nothing_is_called_clean_or_forgotten_that_is_not_merged)
{
	begin((uint64_t)_i + 1);
	for (uint32_t n = 0; n < STEPS; n++)
		step();
	settle();
	world_finish(&w);
}
END_TEST

TEST_MAIN("heal_model",
	  tcase_add_loop_test(tc, nothing_is_called_clean_or_forgotten_that_is_not_merged, 0,
			      check_seeds(3)))
