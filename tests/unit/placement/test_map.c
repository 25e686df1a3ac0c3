/* SPDX-License-Identifier: Apache-2.0 */
/* The replica map: rows survive their codecs, and placement is fair, stable and spread. */
#include <stdio.h>
#include <string.h>

#include "fs/placement/map.h"
#include "tests/check_main.h"

static struct server_row server(server_no number, uint64_t weight, const char *host,
				const char *rack)
{
	struct server_row row = { .server = number, .state = SERVER_UP, .weight_bytes = weight };

	snprintf(row.host, sizeof row.host, "%s", host);
	snprintf(row.rack, sizeof row.rack, "%s", rack);
	return row;
}

static void add(struct map *map, server_no number, uint64_t weight)
{
	char host[24];

	snprintf(host, sizeof host, "h%u", number);
	struct server_row row = server(number, weight, host, "");
	ck_assert_int_eq(map_put_server(map, &row), 0);
}

static struct map *map_of(uint32_t servers)
{
	struct map *map;

	ck_assert_int_eq(map_create(&map), 0);
	for (server_no n = 1; n <= servers; n++)
		add(map, n, GiB(100));
	return map;
}

/* How many replicas of all PGs are on each server. */
static void count_all(const struct map *map, uint32_t copies, uint32_t counts[])
{
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		server_no out[COPIES_MAX];
		uint32_t found = map_place(map, (pg_no)pg, copies, out);

		if (found != MIN_OF(copies, map_server_count(map)))
			ck_abort_msg("pg %u has %u replicas", pg, found);
		for (uint32_t i = 0; i < found; i++)
			counts[out[i]]++;
	}
}

static void ck_near(uint32_t got, double want, double slack)
{
	ck_assert_msg(got > want * (1 - slack) && got < want * (1 + slack), "%u is not near %g",
		      got, want);
}

START_TEST(equal_servers_get_equal_shares)
{
	struct map *map = map_of(10);
	uint32_t counts[11] = { 0 };

	count_all(map, 3, counts);
	for (server_no n = 1; n <= 10; n++)
		ck_near(counts[n], PG_COUNT * 3 / 10.0, 0.10);
	map_destroy(map);
}
END_TEST

START_TEST(shares_follow_weights)
{
	struct map *map = map_of(0);
	uint32_t counts[9] = { 0 };

	for (server_no n = 1; n <= 8; n++)
		add(map, n, n <= 4 ? GiB(100) : GiB(300));
	count_all(map, 1, counts);
	for (server_no n = 1; n <= 8; n++)
		ck_near(counts[n], PG_COUNT * (n <= 4 ? 1 : 3) / 16.0, 0.15);
	map_destroy(map);
}
END_TEST

/* Replicas that `after` has and `before` had not. */
static uint32_t count_moves(const struct map *before, const struct map *after, uint32_t copies,
			    server_no only, uint32_t *others)
{
	uint32_t moves = 0;

	*others = 0;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		struct pg_row old = { .replica_count = (uint8_t)copies };
		server_no new[COPIES_MAX];

		ck_assert_uint_eq(map_place(before, (pg_no)pg, copies, old.replicas), copies);
		ck_assert_uint_eq(map_place(after, (pg_no)pg, copies, new), copies);
		for (uint32_t i = 0; i < copies; i++) {
			if (pg_row_has(&old, new[i]))
				continue;
			moves++;
			*others += new[i] != only;
		}
	}
	return moves;
}

START_TEST(a_new_server_moves_only_its_share)
{
	struct map *before = map_of(9), *after = map_of(10);
	uint32_t others;

	ck_near(count_moves(before, after, 3, 10, &others), PG_COUNT * 3 / 10.0, 0.10);
	ck_assert_uint_eq(others, 0);
	/* And back: only what the lost server held moves. */
	uint32_t counts[11] = { 0 };
	count_all(after, 3, counts);
	ck_assert_uint_eq(count_moves(after, before, 3, 0, &others), counts[10]);
	map_destroy(before);
	map_destroy(after);
}
END_TEST

START_TEST(a_server_that_is_out_gets_nothing_and_one_that_is_down_keeps_its_place)
{
	struct map *map = map_of(5);
	struct server_row row = *map_server(map, 3);
	uint32_t counts[6] = { 0 }, down[6] = { 0 };

	count_all(map, 3, counts);
	row.state = SERVER_DOWN;
	ck_assert_int_eq(map_put_server(map, &row), 0);
	count_all(map, 3, down);
	ck_assert_mem_eq(counts, down, sizeof counts);
	row.state = SERVER_OUT;
	ck_assert_int_eq(map_put_server(map, &row), 0);
	memset(counts, 0, sizeof counts);
	count_all(map, 3, counts);
	ck_assert_uint_eq(counts[3], 0);
	map_destroy(map);
}
END_TEST

START_TEST(replicas_are_spread_over_racks_then_hosts)
{
	struct map *map = map_of(0);

	/* Racks a and b, two hosts in each, two servers on each host. */
	for (server_no n = 0; n < 8; n++) {
		char host[24];
		snprintf(host, sizeof host, "h%u", n / 2);
		struct server_row row = server(n + 1, GiB(100), host, n < 4 ? "a" : "b");
		ck_assert_int_eq(map_put_server(map, &row), 0);
	}
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		server_no out[COPIES_MAX];
		uint32_t racks[2] = { 0 }, hosts[4] = { 0 };

		ck_assert_uint_eq(map_place(map, (pg_no)pg, 4, out), 4);
		for (uint32_t i = 0; i < 4; i++) {
			racks[(out[i] - 1) / 4]++;
			hosts[(out[i] - 1) / 2]++;
		}
		if (racks[0] != 2 || hosts[0] != 1 || hosts[1] != 1 || hosts[2] != 1)
			ck_abort_msg("pg %u is not spread", pg);
	}
	map_destroy(map);
}
END_TEST

START_TEST(placement_is_the_same_for_ever)
{
	struct map *map = map_of(6);
	server_no out[COPIES_MAX];
	uint64_t fold = 0;

	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		ck_assert_uint_eq(map_place(map, (pg_no)pg, 3, out), 3);
		for (uint32_t i = 0; i < 3; i++)
			fold = fold * 31 + out[i];
	}
	/* A change of this number moves every block of every cluster. */
	ck_assert_uint_eq(fold, 5089707325726464547u);
	map_destroy(map);
}
END_TEST

START_TEST(fewer_servers_than_copies_give_what_there_is)
{
	struct map *map = map_of(2);
	server_no out[COPIES_MAX];

	ck_assert_uint_eq(map_place(map, 17, 3, out), 2);
	ck_assert_uint_ne(out[0], out[1]);
	map_destroy(map);
	map = map_of(0);
	ck_assert_uint_eq(map_place(map, 17, 3, out), 0);
	map_destroy(map);
}
END_TEST

START_TEST(rows_survive_their_codecs)
{
	struct pg_row pg = { .epoch = 7, .state = PG_DEGRADED, .replica_count = 2,
			     .former_count = 1, .replicas = { 3, 1 }, .formers = { 9 } }, pg_out;
	struct server_row row = server(12, GiB(5), "node1", "rack-b"), row_out;
	uint8_t bytes[SERVER_ROW_BYTES_MAX];

	size_t len = pg_row_encode(&pg, bytes);
	ck_assert_int_eq(pg_row_decode(bytes, len, &pg_out), 0);
	ck_assert_mem_eq(&pg, &pg_out, sizeof pg);
	ck_assert_int_eq(pg_row_decode(bytes, len - 1, &pg_out), -E_MALFORMED);
	bytes[16] = 3;	/* replica 1 becomes 3 as well */
	ck_assert_int_eq(pg_row_decode(bytes, len, &pg_out), -E_MALFORMED);

	snprintf(row.address, sizeof row.address, "node1:7001");
	row.disk_count = 4;
	len = server_row_encode(&row, bytes);
	ck_assert_int_eq(server_row_decode(bytes, len, &row_out), 0);
	ck_assert_mem_eq(&row, &row_out, sizeof row);
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_int_eq(server_row_decode(bytes, cut, &row_out), -E_MALFORMED);
	bytes[len - 1] = '\n';
	ck_assert_int_eq(server_row_decode(bytes, len, &row_out), -E_MALFORMED);
}
END_TEST

START_TEST(a_row_changes_only_with_a_higher_epoch)
{
	struct map *map = map_of(0);
	struct pg_row row = { .epoch = 2, .state = PG_CLEAN };

	ck_assert_uint_eq(map_pg(map, 5)->epoch, 0);
	ck_assert(map_put_pg(map, 5, &row));
	row.state = PG_LOST;
	ck_assert(!map_put_pg(map, 5, &row));
	row.epoch = 1;
	ck_assert(!map_put_pg(map, 5, &row));
	ck_assert_int_eq(map_pg(map, 5)->state, PG_CLEAN);
	map_destroy(map);
}
END_TEST

START_TEST(servers_are_listed_by_number_up_to_the_limit)
{
	struct map *map = map_of(0);
	struct server_row one_more = server(SERVERS_MAX + 1, 1, "h", "");

	for (server_no n = SERVERS_MAX; n >= 1; n--)
		add(map, n, 1);
	for (uint32_t i = 0; i < SERVERS_MAX; i++)
		ck_assert_uint_eq(map_server_at(map, i)->server, i + 1);
	ck_assert_int_eq(map_put_server(map, &one_more), -E_TOOBIG);
	ck_assert_ptr_null(map_server(map, SERVERS_MAX + 1));
	ck_assert_uint_eq(map_server(map, 77)->server, 77);
	map_destroy(map);
}
END_TEST

START_TEST(a_row_names_replicas_then_formers)
{
	struct pg_row row = {
		.replica_count = 2, .replicas = {4, 2}, .former_count = 1, .formers = {9}};

	ck_assert(pg_row_has(&row, 2) && !pg_row_has_former(&row, 2) && pg_row_names(&row, 2));
	ck_assert(!pg_row_has(&row, 9) && pg_row_has_former(&row, 9) && pg_row_names(&row, 9));
	ck_assert(!pg_row_names(&row, 0) && !pg_row_names(&row, 3));
	ck_assert_uint_eq(pg_row_place_count(&row), 3);
	ck_assert_uint_eq(pg_row_server_at(&row, 1), 2);
	ck_assert_uint_eq(pg_row_server_at(&row, 2), 9);
}
END_TEST

TEST_MAIN("map", tcase_add_test(tc, equal_servers_get_equal_shares);
	  tcase_add_test(tc, shares_follow_weights);
	  tcase_add_test(tc, a_new_server_moves_only_its_share);
	  tcase_add_test(tc,
			 a_server_that_is_out_gets_nothing_and_one_that_is_down_keeps_its_place);
	  tcase_add_test(tc, replicas_are_spread_over_racks_then_hosts);
	  tcase_add_test(tc, placement_is_the_same_for_ever);
	  tcase_add_test(tc, fewer_servers_than_copies_give_what_there_is);
	  tcase_add_test(tc, rows_survive_their_codecs);
	  tcase_add_test(tc, a_row_names_replicas_then_formers);
	  tcase_add_test(tc, a_row_changes_only_with_a_higher_epoch);
	  tcase_add_test(tc, servers_are_listed_by_number_up_to_the_limit))
