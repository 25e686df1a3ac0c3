/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane of a client over a whole cluster: who may ask what, pages, foreign text, odd
 * names, a client without tiers, and one that is cut off.
 */
#include "client/core/control.h"

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>

#include "client/core/fill.h"
#include "tests/client_tiers.h"

#define MODEL_BYTES (MiB(1) + 4096)
#define OWNER	    1000u

static struct cluster w;
static struct tiers *tiers;
static struct client *c;
static uint8_t *model;
static char answer[CONTROL_TEXT_BYTES];

static void begin(uint64_t bytes_max)
{
	signal(SIGPIPE, SIG_IGN);
	cluster_start(&w, 3000);
	tiers = bytes_max ? tiers_make(&w, "tier", bytes_max) : NULL;
	c = cluster_client(&w);
	model = malloc(MODEL_BYTES);
	file_pattern(model, MODEL_BYTES, 9);
}

static void end(void)
{
	cluster_client_stop(&w, c);
	if (tiers)
		tiers_end(&w, tiers);
	cluster_finish(&w);
	free(model);
}

static int ask_bytes(uint32_t uid, const char *bytes, size_t len, json_t **reply)
{
	struct cl_op op = { .kind = CL_CONTROL, .uid = uid, .gid = uid, .bytes = bytes,
			    .bytes_len = (uint32_t)len, .out = answer,
			    .out_capacity = sizeof answer - 1 };
	int rc = cluster_op(&w, c, &op);
	*reply = NULL;
	if (rc == 0) {
		ck_assert_uint_lt(op.out_len, sizeof answer);
		*reply = json_loadb(answer, op.out_len, 0, NULL);
		ck_assert_ptr_nonnull(*reply);
	}
	return rc;
}

static int ask_text(uint32_t uid, const char *text, json_t **reply)
{
	return ask_bytes(uid, text, strlen(text), reply);
}

/* The code alone. */
static int ask(uint32_t uid, const char *what, inode_no ino)
{
	char text[128];
	json_t *reply;
	snprintf(text, sizeof text, "{\"do\":\"%s\",\"ino\":%llu}", what, (unsigned long long)ino);
	int rc = ask_text(uid, text, &reply);
	json_decref(reply);
	return rc;
}

static bool state_is(inode_no ino, const char *state)
{
	char text[64];
	json_t *reply;
	snprintf(text, sizeof text, "{\"do\":\"state\",\"ino\":%llu}", (unsigned long long)ino);
	ck_assert_int_eq(ask_text(0, text, &reply), 0);
	bool is_it = strcmp(json_string_value(json_object_get(reply, "state")), state) == 0;
	json_decref(reply);
	return is_it;
}

static void await_state(inode_no ino, const char *state)
{
	for (unsigned i = 0; i < 3000 && !state_is(ino, state); i++)
		cluster_run_for(&w, 10);
	ck_assert_msg(state_is(ino, state), "inode %llu is not %s", (unsigned long long)ino, state);
}

static inode_no make(const char *name, uint8_t number)
{
	model[3] = number;
	return tiers_write_file(&w, c, name, model, MODEL_BYTES);
}

/* By a node without a tier, so that it is not here yet. */
static inode_no make_elsewhere(const char *name, uint8_t number)
{
	cluster_client_hook = NULL;
	struct client *writer = cluster_client(&w);
	model[3] = number;
	(void)tiers_write_file(&w, writer, name, model, MODEL_BYTES);
	cluster_client_stop(&w, writer);
	return file_lookup(&w, c, name);
}

static void own(inode_no ino, uint32_t uid)
{
	struct cl_op op = { .kind = CL_SETATTR, .ino = ino, .set_mask = CL_SET_UID,
			    .new_uid = uid };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
}

START_TEST(orders_are_for_root_and_the_owner)
{
	begin(MiB(64));
	inode_no ino = make("model", 1);
	own(ino, OWNER);
	await_state(ino, "cached");
	for (unsigned i = 0; i < 2; i++) {
		uint32_t who = i ? OWNER : 0;
		ck_assert_int_eq(ask(77, "pin", ino), -E_PERM);
		ck_assert_int_eq(ask(who, "pin", ino), 0);
		ck_assert_int_eq(ask(77, "unpin", ino), -E_PERM);
		ck_assert_int_eq(ask(who, "evict", ino), -E_BUSY);
		ck_assert_int_eq(ask(who, "unpin", ino), 0);
		ck_assert_int_eq(ask(77, "evict", ino), -E_PERM);
		ck_assert_int_eq(ask(who, "evict", ino), 0);
		ck_assert(state_is(ino, "not cached"));
		ck_assert_int_eq(ask(77, "warm", ino), 0);
		await_state(ino, "cached");
	}
	ck_assert_int_eq(ask(OWNER, "evict-all", 0), -E_PERM);
	ck_assert_int_eq(ask(0, "evict-all", 0), 0);
	ck_assert(state_is(ino, "not cached"));
	end();
}
END_TEST

START_TEST(who_owns_nothing_pushes_nothing_out)
{
	begin(MiB(3));
	inode_no used[2] = { make_elsewhere("one", 1), make_elsewhere("two", 2) };
	inode_no other = make_elsewhere("other", 3);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(ask(0, "warm", used[i]), 0);
		await_state(used[i], "cached");
		for (unsigned uses = 0; uses < 8; uses++) {
			struct tier_file *f = client_tier_find(c, used[uses % 2]);
			if (f)
				tier_use(f);
			tier_put(f);
		}
	}
	await_state(used[0], "cached");
	await_state(used[1], "cached");
	ck_assert_int_eq(ask(77, "warm", other), 0);
	await_state(other, "not cached");
	ck_assert(state_is(used[0], "cached") && state_is(used[1], "cached"));
	ck_assert_int_eq(ask(0, "warm", other), 0);
	await_state(other, "cached");
	end();
}
END_TEST

/* Paths of all entries; "" for those without. */
static unsigned named_entries(uint32_t uid, const char *what, const char *name)
{
	char text[64];
	json_t *reply, *entry;
	unsigned named = 0;
	size_t i;
	snprintf(text, sizeof text, "{\"do\":\"%s\"}", what);
	ck_assert_int_eq(ask_text(uid, text, &reply), 0);
	json_array_foreach(json_object_get(reply, "entries"), i, entry)
		named += strcmp(json_string_value(json_object_get(entry, "path")), name) == 0;
	json_decref(reply);
	return named;
}

START_TEST(paths_are_told_to_root_and_the_owner)
{
	begin(MiB(64));
	inode_no ino = make("secret", 1);
	own(ino, OWNER);
	ck_assert_int_eq(ask(0, "pin", ino), 0);
	await_state(ino, "cached");
	static const char *const lists[] = { "files", "pins" };
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(named_entries(0, lists[i], "/secret"), 1);
		ck_assert_uint_eq(named_entries(OWNER, lists[i], "/secret"), 1);
		ck_assert_uint_eq(named_entries(77, lists[i], "/secret"), 0);
		ck_assert_uint_eq(named_entries(77, lists[i], ""), 1);
	}
	end();
}
END_TEST

START_TEST(names_may_be_any_bytes)
{
	begin(MiB(64));
	await_state(make("latin \xe9", 1), "cached");
	await_state(make("line\nbreak \x1b[31m", 2), "cached");
	ck_assert_uint_eq(named_entries(0, "files", "/latin ?"), 1);
	ck_assert_uint_eq(named_entries(0, "files", "/line\nbreak \x1b[31m"), 1);
	end();
}
END_TEST

START_TEST(lists_come_in_pages)
{
	begin(MiB(256));
	char name[8], text[256] = "{\"do\":\"files\"}";
	unsigned count = 0, pages = 0;
	bool more = true;
	for (uint8_t i = 0; i < 70; i++) {
		snprintf(name, sizeof name, "m%u", i);
		await_state(make(name, i), "cached");
	}
	while (more) {
		json_t *reply;
		ck_assert_int_eq(ask_text(0, text, &reply), 0);
		json_t *entries = json_object_get(reply, "entries");
		size_t here = json_array_size(entries);
		ck_assert_uint_gt(here, 0);
		snprintf(text, sizeof text, "{\"do\":\"files\",\"after\":\"%s\"}",
			 json_string_value(json_object_get(json_array_get(entries, here - 1),
							   "root")));
		count += (unsigned)here;
		pages++;
		more = json_is_true(json_object_get(reply, "more"));
		json_decref(reply);
	}
	ck_assert_uint_eq(count, 70);
	ck_assert_uint_gt(pages, 1);
	end();
}
END_TEST

START_TEST(foreign_text_is_refused)
{
	begin(MiB(64));
	static const char *const wrong[] = {
		"", "{", "[]", "7", "null", "\"do\"", "{}", "{\"do\":7}", "{\"do\":\"\"}",
		"{\"do\":\"info\",\"do\":\"info\"}", "{\"do\":\"warm\"}",
		"{\"do\":\"warm\",\"ino\":\"3\"}", "{\"do\":\"warm\",\"ino\":1e3}",
		"{\"do\":\"files\",\"after\":\"zz\"}", "{\"do\":\"info\\u0000\"}", "\xff\xfe",
	};
	json_t *reply;
	for (unsigned i = 0; i < ARRAY_COUNT(wrong); i++)
		ck_assert_msg(ask_text(0, wrong[i], &reply) == -E_INVAL, "%s", wrong[i]);
	ck_assert_int_lt(ask(0, "state", 123456789), 0);
	ck_assert_int_eq(ask(0, "warm", INODE_ROOT), -E_INVAL);
	ck_assert_int_eq(ask(0, "pin", INODE_ROOT), -E_INVAL);
	ck_assert_int_eq(ask(0, "evict", INODE_ROOT), -E_INVAL);
	char *deep = malloc(CONTROL_TEXT_BYTES);
	memset(deep, '[', CONTROL_TEXT_BYTES);
	ck_assert_int_eq(ask_bytes(0, deep, CONTROL_TEXT_BYTES, &reply), -E_INVAL);
	free(deep);
	end();
}
END_TEST

START_TEST(without_tiers_nothing_is_kept_nor_promised)
{
	begin(0);
	inode_no ino = make("model", 1);
	json_t *reply;
	ck_assert_int_eq(ask_text(0, "{\"do\":\"info\"}", &reply), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(reply, "tiers")), 0);
	json_decref(reply);
	static const char *const lists[] = { "{\"do\":\"files\"}", "{\"do\":\"pins\"}" };
	for (unsigned i = 0; i < ARRAY_COUNT(lists); i++) {
		ck_assert_int_eq(ask_text(0, lists[i], &reply), 0);
		ck_assert_uint_eq(json_array_size(json_object_get(reply, "entries")), 0);
		json_decref(reply);
	}
	static const char *const others[] = { "state", "warm", "pin", "unpin", "evict",
					      "evict-all" };
	for (unsigned i = 0; i < ARRAY_COUNT(others); i++)
		ck_assert_int_eq(ask(0, others[i], ino), -E_NODEV);
	end();
}
END_TEST

START_TEST(who_is_cut_off_still_tells_what_it_has)
{
	begin(MiB(64));
	await_state(make("model", 1), "cached");
	cluster_mds_stop(&w);
	cluster_run_for(&w, 4000);	/* no lease is left */
	uint64_t begun_ms = loop_now_ms(w.loop);
	json_t *reply;
	ck_assert_int_eq(ask_text(0, "{\"do\":\"info\"}", &reply), 0);
	json_decref(reply);
	ck_assert_uint_eq(named_entries(0, "files", "/model"), 1);
	ck_assert_uint_eq(named_entries(0, "pins", "/model"), 0);
	ck_assert_uint_lt(loop_now_ms(w.loop) - begun_ms, 500);
	cluster_mds_start(&w);
	cluster_run_for(&w, 500);
	end();
}
END_TEST

TEST_MAIN("control", tcase_set_timeout(tc, 60);
	  tcase_add_test(tc, orders_are_for_root_and_the_owner);
	  tcase_add_test(tc, who_owns_nothing_pushes_nothing_out);
	  tcase_add_test(tc, paths_are_told_to_root_and_the_owner);
	  tcase_add_test(tc, names_may_be_any_bytes);
	  tcase_add_test(tc, lists_come_in_pages);
	  tcase_add_test(tc, foreign_text_is_refused);
	  tcase_add_test(tc, without_tiers_nothing_is_kept_nor_promised);
	  tcase_add_test(tc, who_is_cut_off_still_tells_what_it_has))
