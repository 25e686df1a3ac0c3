/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reports of the control plane: the tiers and their totals, and lists of what is in them and of
 * what is pinned, in pages that fit an ioctl. Paths are told to who may know them, in UTF-8.
 */
#include "client/core/control_internal.h"

#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "client/core/control.h"
#include "client/core/file.h"
#include "client/core/fill.h"
#include "client/core/guess.h"
#include "client/core/pins.h"
#include "fs/base/text.h"

#define PAGE_TEXT_BYTES (CONTROL_TEXT_BYTES - 1000u)	/* of the entries of a page */
#define PINS_PAGE	256u
#define FILES_PAGE	64u
#define PATH_TEXT_BYTES 1024u		/* escaped, still less than a page */
#define ROOT_HEX_BYTES	(2 * ROOT_BYTES + 1)

/* --- words ------------------------------------------------------------------------------------ */

static const char *state_word(enum tier_state state)
{
	static const char *const words[] = {
		[TIER_FILLING] = "filling", [TIER_SEALING] = "sealing",
		[TIER_SEALED] = "cached",   [TIER_GONE] = "gone",
	};
	return words[state];
}

static const char *why_word(enum cl_fill_why why)
{
	static const char *const words[] = {
		[CL_FILL_TOUCH] = "read", [CL_FILL_WARM] = "asked for",
		[CL_FILL_WISH] = "asked for",
		[CL_FILL_SIBLING] = "shard of a model in use", [CL_FILL_GUESS] = "predicted",
	};
	return words[why];
}

static int root_of_hex(const char *hex, struct root *out)
{
	uint8_t bytes[ROOT_BYTES];
	int rc = text_parse_hex(hex, bytes, sizeof bytes);

	return rc < 0 ? rc : root_decode(bytes, out);
}

/* Text of foreign names: what is no UTF-8 could not be said in JSON. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char copy[PATH_TEXT_BYTES];

	if (json)
		return json;
	(void)text_copy(copy, sizeof copy, text);
	for (char *s = copy; *s; s++)
		if ((unsigned char)*s >= 0x80)
			*s = '?';
	return json_string(copy);
}

/* Where this mount saw it last; "" for who may not know. */
static json_t *path_json(const struct cl_control *ctl, inode_no ino)
{
	char path[PATH_TEXT_BYTES] = "";

	if (ino && cl_control_is_owner(ctl, cl_node_find(ctl->client, ino)))
		cl_node_path(ctl->client, ino, path, sizeof path);
	return text_json(path);
}

/* --- totals ----------------------------------------------------------------------------------- */
static json_t *place_json(const struct tier_place_info *p)
{
	return json_pack("{s:o, s:b, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
			 " s:I, s:I}",
			 "directory", text_json(p->directory), "memory", p->is_memory, "broken",
			 p->is_broken, "problem", p->problem, "bytes_max",
			 (json_int_t)p->bytes_max, "bytes_used", (json_int_t)p->bytes_used,
			 "bytes_pinned", (json_int_t)p->bytes_pinned, "keep_free",
			 (json_int_t)p->keep_free, "files", (json_int_t)p->files, "hits",
			 (json_int_t)p->hits, "evictions", (json_int_t)p->evictions,
			 "evicted_bytes", (json_int_t)p->evicted_bytes, "promotions",
			 (json_int_t)p->promotions, "demotions", (json_int_t)p->demotions,
			 "checked_bytes", (json_int_t)p->checked_bytes, "wrong",
			 (json_int_t)p->wrong);
}

static bool fill_count(void *arg, const struct cl_fill_info *info)
{
	uint64_t *sums = arg;

	sums[0]++;
	sums[1] += info->bytes;
	sums[2] += info->done_bytes;
	return true;
}

static json_t *predictor_json(const struct client *c)
{
	struct cl_guess_info info = { .bytes = 0 };

	if (c->guess)
		cl_guess_info(c->guess, &info);
	return json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "on", c->guess != NULL,
			 "filling", info.is_filling, "models", (json_int_t)info.stats.models,
			 "uses", (json_int_t)info.stats.uses, "warmed",
			 (json_int_t)info.stats.warmed, "hits", (json_int_t)info.stats.hits,
			 "misses", (json_int_t)info.stats.misses, "bytes",
			 (json_int_t)info.bytes);
}

int cl_control_report_info(struct cl_control *ctl)
{
	struct client *c = ctl->client;
	struct tiers_info info = { .place_count = 0 };
	uint64_t fills[3] = { 0 };
	json_t *places = json_array();
	const Wire__HelloReply *hello = rpc_peer_hello(c->mds);
	char cluster[33] = "";

	if (hello && hello->cluster.len == 16)
		text_hex(cluster, hello->cluster.data, 16);
	if (c->options.tiers)
		tiers_info(c->options.tiers, &info);
	cl_fill_list(c, fill_count, fills);
	for (uint32_t i = 0; i < info.place_count; i++)
		json_array_append_new(places, place_json(&info.places[i]));
	ctl->reply = json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s,"
			       " s:s}",
			       "cluster", cluster, "tiers", places, "predictor", predictor_json(c),
			       "hits", (json_int_t)info.hits, "misses", (json_int_t)info.misses,
			       "refused", (json_int_t)info.refused, "fills",
			       (json_int_t)fills[0], "fill_bytes", (json_int_t)fills[1],
			       "fill_done_bytes", (json_int_t)fills[2], "pins",
			       (json_int_t)(c->pins ? cl_pins_count(c->pins) : 0), "passthrough",
			       c->options.passthrough ? c->options.passthrough(c->options.arg)
						      : "there is no front",
			       "pins_problem", c->pins ? cl_pins_problem(c->pins) : "");
	return 0;
}

/* --- pages ------------------------------------------------------------------------------------ */

/* A page of entries: as many as fit. */
struct page {
	json_t *entries;
	size_t bytes;
	bool is_full, has_failed;
};

static void page_add(struct page *page, json_t *entry)
{
	size_t len = entry ? json_dumpb(entry, NULL, 0, JSON_COMPACT) : 0;

	page->has_failed |= len == 0;
	page->is_full |= page->bytes + len + 1 > PAGE_TEXT_BYTES;
	if (page->is_full || page->has_failed) {
		json_decref(entry);
		return;
	}
	page->bytes += len + 1;
	json_array_append_new(page->entries, entry);
}

static int page_end(struct cl_control *ctl, struct page *page)
{
	if (page->has_failed) {
		json_decref(page->entries);
		return -E_NOMEM;
	}
	ctl->reply = json_pack("{s:o, s:b}", "entries", page->entries, "more", page->is_full);
	return 0;
}

/* Files of a page, and which inode has that content, as far as this mount knows. */
struct files {
	struct seen_file {
		struct tier_file_info info;
		uint8_t key[ROOT_BYTES];
		inode_no ino;
		UT_hash_handle hh;
	} at[FILES_PAGE];
	struct seen_file *by_root;
	uint32_t count;
	bool is_more;
};

static bool files_add(void *arg, const struct tier_file_info *info)
{
	struct files *files = arg;
	struct seen_file *f = &files->at[files->count];

	files->is_more = files->count == FILES_PAGE;
	if (files->is_more)
		return false;
	f->info = *info;
	root_encode(&info->root, f->key);
	files->count++;
	HASH_ADD(hh, files->by_root, key, sizeof f->key, f);
	return true;
}

/* One walk through all inodes for all files of the page. */
static void files_name(struct files *files, const struct client *c)
{
	const struct cl_node *node;
	uint8_t key[ROOT_BYTES];
	struct seen_file *f;

	for (node = c->nodes; node; node = node->hh.next) {
		if (!node->has_attr || !node->name_hint || !root_has_blocks(&node->attr.root))
			continue;
		root_encode(&node->attr.root, key);
		HASH_FIND(hh, files->by_root, key, sizeof key, f);
		if (f && !f->ino)
			f->ino = node->ino;
	}
}

static json_t *file_json(const struct cl_control *ctl, const struct seen_file *f)
{
	const struct tier_file_info *info = &f->info;
	char hex[ROOT_HEX_BYTES];
	struct cl_fill_info fill;
	const char *why = "";

	text_hex(hex, f->key, sizeof f->key);
	if (info->state == TIER_FILLING)
		why = cl_fill_find(ctl->client, &info->root, &fill) ? why_word(fill.why)
								    : "being written";
	return json_pack("{s:s, s:o, s:s, s:s, s:i, s:b, s:b, s:I, s:I, s:I, s:I}", "root", hex,
			 "path", path_json(ctl, f->ino), "state", state_word(info->state), "why",
			 why, "tier", (int)info->place, "pinned", info->is_pinned, "in_use",
			 info->is_used, "bytes", (json_int_t)info->bytes, "done_bytes",
			 (json_int_t)info->present_bytes, "uses", (json_int_t)info->uses,
			 "used_wall_ns", (json_int_t)info->used_wall_ns);
}

int cl_control_report_files(struct cl_control *ctl)
{
	const char *after = json_string_value(json_object_get(ctl->request, "after"));
	struct page page = { .bytes = 0 };
	struct files *files;
	struct root root;

	if (after && root_of_hex(after, &root) < 0)
		return -E_INVAL;
	files = calloc(1, sizeof *files);
	page.entries = json_array();
	if (!files || !page.entries) {
		free(files);
		json_decref(page.entries);
		return -E_NOMEM;
	}
	if (ctl->client->options.tiers)
		tiers_list(ctl->client->options.tiers, after ? &root : NULL, files_add, files);
	files_name(files, ctl->client);
	for (uint32_t i = 0; i < files->count && !page.is_full && !page.has_failed; i++)
		page_add(&page, file_json(ctl, &files->at[i]));
	page.is_full |= files->is_more;
	HASH_CLEAR(hh, files->by_root);
	free(files);
	return page_end(ctl, &page);
}

int cl_control_report_pins(struct cl_control *ctl)
{
	struct page page = { .entries = json_array() };
	inode_no after = (inode_no)json_integer_value(json_object_get(ctl->request, "after"));
	inode_no inodes[PINS_PAGE];
	const struct cl_pins *pins = ctl->client->pins;
	uint32_t count = pins ? cl_pins_list(pins, after, inodes, PINS_PAGE) : 0;

	for (uint32_t i = 0; i < count && !page.is_full && !page.has_failed; i++)
		page_add(&page, json_pack("{s:I, s:o}", "ino", (json_int_t)inodes[i], "path",
					  path_json(ctl, inodes[i])));
	page.is_full |= count == PINS_PAGE;
	return page_end(ctl, &page);
}
