/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins of a client over a whole cluster: they follow their inode, are kept over restarts, share
 * content, end with the file, and are never more than the tiers hold.
 */
#include "client/core/pins.h"

#include <signal.h>
#include <stdlib.h>

#include "client/core/core.h"
#include "client/core/kept.h"
#include "client/core/node.h"
#include "tests/client_tiers.h"

#define MODEL_BYTES MiB(3)

static struct cluster w;
static struct tiers *tiers;
static struct client *c;
static uint8_t *model;
static char pins_file[512];

static void with_pins(struct cluster *world, struct cl_options *options)
{
	tiers_use(world, options);
	options->pins_file = pins_file;
}

/* A client with pins and a tier of so many bytes. */
static void mount(uint64_t bytes_max)
{
	tiers = tiers_make(&w, "tier", bytes_max);
	cluster_client_hook = with_pins;
	c = cluster_client(&w);
}

static void unmount(void)
{
	cluster_client_stop(&w, c);
	tiers_end(&w, tiers);
}

static void begin(void)
{
	signal(SIGPIPE, SIG_IGN);
	cluster_start(&w, 3000);
	snprintf(pins_file, sizeof pins_file, "%s", scratch_path(&w.scratch, "pins"));
	model = malloc(MODEL_BYTES);
	file_pattern(model, MODEL_BYTES, 5);
}

static void end(void)
{
	cluster_finish(&w);
	free(model);
}

/* A file of MODEL_BYTES, other than all of another number. */
static inode_no make(const char *name, uint8_t number)
{
	model[7] = number;
	return tiers_write_file(&w, c, name, model, MODEL_BYTES);
}

static int set(inode_no ino, bool pinned)
{
	struct cl_op op = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	return cl_pins_set(c->pins, cl_node_find(c, ino), pinned);
}

static struct root root_of(inode_no ino)
{
	struct cl_op op = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	return op.attr.root;
}

static bool find_pinned(void *arg, const struct tier_file_info *info)
{
	const struct root **root = arg;
	if (!*root || !root_equal(&info->root, *root) || !info->is_pinned ||
	    info->state != TIER_SEALED)
		return true;
	*root = NULL;
	return false;
}

/* Sealed and pinned in the tier now? */
static bool is_kept(const struct root *root)
{
	tiers_list(tiers, NULL, find_pinned, &root);
	return root == NULL;
}

static void expect_kept(const struct root *root)
{
	for (unsigned i = 0; i < 500 && !is_kept(root); i++)
		cluster_run_for(&w, 10);
	ck_assert(is_kept(root));
}

START_TEST(a_pin_is_kept_over_restarts)
{
	begin();
	mount(MiB(64));
	inode_no one = make("one", 1), two = make("two", 2);
	struct root root = root_of(one);
	ck_assert_int_eq(set(two, true), 0);
	ck_assert_int_eq(set(one, true), 0);
	ck_assert_int_eq(set(one, true), 0);
	ck_assert_uint_eq(cl_pins_count(c->pins), 2);
	expect_kept(&root);
	ck_assert_int_eq(set(two, false), 0);
	ck_assert_int_eq(set(two, false), 0);
	unmount();
	mount(MiB(64));
	ck_assert(cl_pins_has(c->pins, one) && !cl_pins_has(c->pins, two));
	expect_kept(&root);
	unmount();
	end();
}
END_TEST

START_TEST(content_is_pinned_as_long_as_one_inode_is)
{
	begin();
	mount(MiB(64));
	inode_no one = make("one", 1), clone = make("clone", 1);
	struct root root = root_of(one), other = root_of(clone);
	ck_assert(root_equal(&root, &other));
	ck_assert_int_eq(set(one, true), 0);
	ck_assert_int_eq(set(clone, true), 0);
	expect_kept(&root);
	ck_assert_int_eq(set(one, false), 0);
	ck_assert(is_kept(&root));
	ck_assert_int_eq(set(clone, false), 0);
	ck_assert(!is_kept(&root));
	unmount();
	end();
}
END_TEST

START_TEST(a_pin_follows_what_another_node_writes)
{
	begin();
	mount(MiB(64));
	inode_no ino = make("model", 1);
	struct root before = root_of(ino), after;
	ck_assert_int_eq(set(ino, true), 0);
	expect_kept(&before);
	cluster_client_hook = NULL;
	struct client *other = cluster_client(&w);
	struct cl_handle *h = file_open(&w, other, "model", O_RDWR);
	ck_assert_int_eq(file_write(&w, other, h, 0, "another model", 13), 0);
	ck_assert_int_eq(file_close(&w, other, h), 0);
	/* Long before the next look at all pins. */
	uint64_t begun_ms = loop_now_ms(w.loop);
	after = root_of(ino);
	ck_assert(!root_equal(&before, &after));
	expect_kept(&after);
	ck_assert(!is_kept(&before));
	ck_assert_uint_lt(loop_now_ms(w.loop) - begun_ms, PINS_LOOK_MS / 2);
	cluster_client_stop(&w, other);
	unmount();
	end();
}
END_TEST

START_TEST(a_pin_ends_with_its_file)
{
	begin();
	mount(MiB(64));
	inode_no ino = make("model", 1);
	ck_assert_int_eq(set(ino, true), 0);
	struct cl_op op = { .kind = CL_UNLINK, .parent = INODE_ROOT, .name = "model" };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	uint64_t begun_ms = loop_now_ms(w.loop);
	while (cl_pins_has(c->pins, ino) && loop_now_ms(w.loop) - begun_ms < PINS_LOOK_MS / 2)
		cluster_run_for(&w, 10);
	ck_assert(!cl_pins_has(c->pins, ino));
	unmount();
	end();
}
END_TEST

START_TEST(pins_are_never_more_than_the_tiers_hold)
{
	begin();
	mount(MiB(8));
	inode_no inos[3];
	for (uint8_t i = 0; i < 3; i++) {
		char name[8];
		snprintf(name, sizeof name, "m%u", i);
		inos[i] = make(name, i);
	}
	ck_assert_int_eq(set(inos[0], true), 0);
	ck_assert_int_eq(set(inos[1], true), 0);
	ck_assert_int_eq(set(inos[2], true), -E_NOSPC);
	ck_assert_uint_eq(cl_pins_count(c->pins), 2);
	ck_assert_int_eq(set(inos[0], false), 0);
	ck_assert_int_eq(set(inos[2], true), 0);
	struct root root = root_of(inos[2]);
	expect_kept(&root);
	unmount();
	end();
}
END_TEST

START_TEST(a_client_may_die_amid_a_look)
{
	begin();
	mount(MiB(64));
	for (uint8_t i = 0; i < 3; i++) {
		char name[8];
		snprintf(name, sizeof name, "m%u", i);
		ck_assert_int_eq(set(make(name, i), true), 0);
	}
	unmount();
	for (unsigned ms = 0; ms < 6; ms++) {
		mount(MiB(64));
		cluster_run_for(&w, ms);
		client_destroy(c);
		tiers_end(&w, tiers);
	}
	end();
}
END_TEST

START_TEST(many_pins_are_noted_by_few_writes)
{
	begin();
	mount(MiB(64));
	inode_no ino = make("model", 1);
	struct cl_op op = { .kind = CL_GETATTR, .ino = ino };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	struct cl_node node = *cl_node_find(c, ino);
	node.attr.root = (struct root){ .kind = ROOT_EMPTY };
	for (node.ino = 1000; node.ino < 6000; node.ino++)
		ck_assert_int_eq(cl_pins_set(c->pins, &node, true), 0);
	ck_assert(cl_pins_is_busy(c->pins));
	inode_no page[3];
	ck_assert_uint_eq(cl_pins_list(c->pins, 5997, page, 3), 2);
	ck_assert_uint_eq(page[1], 5999);
	ck_assert_uint_eq(cl_pins_list(c->pins, UINT64_MAX, page, 3), 0);
	while (cl_pins_is_busy(c->pins))
		cluster_run_for(&w, 1);
	ck_assert_str_eq(cl_pins_problem(c->pins), "");
	char *text;
	size_t len;
	ck_assert_int_eq(cl_kept_read(pins_file, PINS_TEXT_BYTES_MAX, &text, &len), 0);
	inode_no *inodes = calloc(PINS_MAX, sizeof *inodes);
	bool is_sound;
	/* Those that are no inodes may have been looked at by now. */
	ck_assert_uint_gt(cl_pins_parse(text, inodes, &is_sound), 0);
	ck_assert(is_sound);
	free(inodes);
	free(text);
	unmount();
	end();
}
END_TEST

START_TEST(what_cannot_be_noted_is_told)
{
	begin();
	snprintf(pins_file, sizeof pins_file, "%s", scratch_path(&w.scratch, "absent/pins"));
	mount(MiB(64));
	ck_assert_int_eq(set(make("model", 1), true), 0);
	while (cl_pins_is_busy(c->pins))
		cluster_run_for(&w, 1);
	ck_assert_str_ne(cl_pins_problem(c->pins), "");
	unmount();
	end();
}
END_TEST

START_TEST(a_foreign_file_is_read_as_far_as_it_goes)
{
	inode_no *inodes = calloc(PINS_MAX, sizeof *inodes);
	bool is_sound;
	ck_assert_uint_eq(cl_pins_parse("cairn pins 1\n7\n3\n7\n", inodes, &is_sound), 2);
	ck_assert(is_sound && inodes[0] == 3 && inodes[1] == 7);
	ck_assert_uint_eq(cl_pins_parse("cairn pins 1\n", inodes, &is_sound), 0);
	ck_assert(is_sound);
	ck_assert_uint_eq(cl_pins_parse("cairn pins 1\n8", inodes, &is_sound), 1);
	ck_assert(is_sound && inodes[0] == 8);
	static const char *const wrong[] = {
		"", "\n", "9", "cairn pins 2\n", "cairn pins 1\n0\n", "cairn pins 1\n-4\n",
		"cairn pins 1\n\n", "cairn pins 1\n18446744073709551616\n",
		"cairn pins 1\n000000000000000000000000000000000000000001\n",
	};
	for (unsigned i = 0; i < ARRAY_COUNT(wrong); i++) {
		ck_assert_uint_eq(cl_pins_parse(wrong[i], inodes, &is_sound), 0);
		ck_assert(!is_sound);
	}
	free(inodes);
}
END_TEST

TEST_MAIN("pins", tcase_set_timeout(tc, 60); tcase_add_test(tc, a_pin_is_kept_over_restarts);
	  tcase_add_test(tc, content_is_pinned_as_long_as_one_inode_is);
	  tcase_add_test(tc, a_pin_follows_what_another_node_writes);
	  tcase_add_test(tc, a_pin_ends_with_its_file);
	  tcase_add_test(tc, pins_are_never_more_than_the_tiers_hold);
	  tcase_add_test(tc, a_client_may_die_amid_a_look);
	  tcase_add_test(tc, many_pins_are_noted_by_few_writes);
	  tcase_add_test(tc, what_cannot_be_noted_is_told);
	  tcase_add_test(tc, a_foreign_file_is_read_as_far_as_it_goes))
