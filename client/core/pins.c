/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: a table by inode, its file, and the look at one inode after another. See pins.h.
 */
#include "client/core/pins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "client/core/fill.h"
#include "client/core/node.h"
#include "fs/base/log.h"
#include "fs/base/text.h"

#define LOG_MODULE "pins"

#define FILE_HEAD "cairn pins 1"

struct pin {
	inode_no ino;
	struct root root;		/* that is pinned in the tiers; empty: none */
	UT_hash_handle hh;
};

struct cl_pins {
	struct client *client;
	char *path;
	struct pin *by_ino;
	struct loop_timer look;
	struct cl_op ask;		/* attributes of one of them */
	bool is_asking;
	inode_no next_ino;		/* the look goes on with the first behind it */
};

/* --- content ---------------------------------------------------------------------------------- */

static bool has_content(const struct root *root)
{
	return root->kind == ROOT_BLOCK || root->kind == ROOT_NODE;
}

static bool is_wanted(const struct cl_pins *pins, const struct root *root)
{
	const struct pin *pin;

	for (pin = pins->by_ino; pin; pin = pin->hh.next)
		if (root_equal(&pin->root, root))
			return true;
	return false;
}

static void content_leave(struct cl_pins *pins, struct pin *pin)
{
	struct root root = pin->root;

	pin->root = (struct root){ .kind = ROOT_EMPTY };
	if (has_content(&root) && !is_wanted(pins, &root) &&
	    tiers_pin(pins->client->options.tiers, &root, false) < 0)
		log_warn("cannot unpin the old content of inode %llu",
			 (unsigned long long)pin->ino);
}

/* The inode has this content now: keep it, and no longer what it had before. */
static int content_take(struct cl_pins *pins, struct pin *pin, const struct root *root)
{
	struct client *c = pins->client;
	int rc = 0;

	if (!root_equal(&pin->root, root)) {
		content_leave(pins, pin);
		if (!has_content(root) || root->length < c->options.tier_min_bytes)
			return 0;
		rc = tiers_pin(c->options.tiers, root, true);
		if (rc < 0)
			return rc;
		pin->root = *root;
	}
	if (!has_content(root) || root->length < c->options.tier_min_bytes)
		return 0;
	rc = cl_fill_start(c, root, CL_FILL_WARM, NULL);
	return MIN_OF(rc, 0);
}

/* --- the file --------------------------------------------------------------------------------- */

static int file_write(const struct cl_pins *pins)
{
	char temporary[4096];
	const struct pin *pin;
	bool ok;
	FILE *f;

	if (!pins->path)
		return 0;
	if (snprintf(temporary, sizeof temporary, "%s.new", pins->path) >= (int)sizeof temporary)
		return -E_NAMETOOLONG;
	f = fopen(temporary, "we");
	if (!f)
		return error_from_errno(errno);
	fprintf(f, "%s\n", FILE_HEAD);
	for (pin = pins->by_ino; pin; pin = pin->hh.next)
		fprintf(f, "%llu\n", (unsigned long long)pin->ino);
	ok = fflush(f) == 0 && !ferror(f) && fdatasync(fileno(f)) == 0;
	if (fclose(f) != 0 || !ok || rename(temporary, pins->path) != 0) {
		(void)unlink(temporary);
		return -E_IO;
	}
	return 0;
}

static struct pin *pin_add(struct cl_pins *pins, inode_no ino)
{
	struct pin *pin = calloc(1, sizeof *pin);

	if (!pin)
		return NULL;
	pin->ino = ino;
	HASH_ADD(hh, pins->by_ino, ino, sizeof pin->ino, pin);
	if (pin->hh.tbl)
		return pin;
	free(pin);
	return NULL;
}

static struct pin *pin_find(const struct cl_pins *pins, inode_no ino)
{
	struct pin *pin;

	HASH_FIND(hh, pins->by_ino, &ino, sizeof ino, pin);
	return pin;
}

static void pin_drop(struct cl_pins *pins, struct pin *pin)
{
	HASH_DEL(pins->by_ino, pin);
	content_leave(pins, pin);
	free(pin);
}

/* Whatever it holds: a number a line, what is no number is left out. */
static int file_read(struct cl_pins *pins)
{
	char line[64];
	FILE *f = pins->path ? fopen(pins->path, "re") : NULL;
	bool is_head = true, is_sound = true;
	uint64_t ino;
	int rc = 0;

	if (!f)
		return 0;
	while (rc == 0 && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = '\0';
		if (is_head)
			is_sound = strcmp(line, FILE_HEAD) == 0;
		else if (text_parse_u64(line, &ino) < 0 || ino == 0)
			is_sound = false;
		else if (!pin_find(pins, ino) && HASH_COUNT(pins->by_ino) < PINS_MAX)
			rc = pin_add(pins, ino) ? 0 : -E_NOMEM;
		is_head = false;
	}
	if (!is_sound)
		log_warn("'%s' is damaged: some pins may be missing; see cairn cache", pins->path);
	fclose(f);
	return rc;
}

/* --- the look --------------------------------------------------------------------------------- */

static void look_on(struct cl_pins *pins);

static int by_ino(struct pin *a, struct pin *b)
{
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

static struct pin *pin_behind(const struct cl_pins *pins, inode_no ino)
{
	struct pin *pin;

	for (pin = pins->by_ino; pin && pin->ino <= ino; pin = pin->hh.next)
		;
	return pin;
}

static void look_done(struct cl_op *op)
{
	struct cl_pins *pins = op->user;
	struct pin *pin = pin_find(pins, op->ino);
	int rc = op->rc;

	pins->is_asking = false;
	if (pin && (rc == -E_NOENT || rc == -E_STALE || (rc == 0 && op->attr.st.st_nlink == 0))) {
		log_info("inode %llu is gone, and its pin with it", (unsigned long long)op->ino);
		pin_drop(pins, pin);
		if (file_write(pins) < 0)
			log_warn("cannot note the pins in '%s'", pins->path);
	} else if (pin && rc == 0) {
		rc = content_take(pins, pin, &op->attr.root);
		if (rc < 0 && rc != -E_NODEV)
			log_warn("cannot keep pinned inode %llu in a tier: %s",
				 (unsigned long long)op->ino, error_text(rc));
	}
	look_on(pins);
}

static void look_on(struct cl_pins *pins)
{
	struct client *c = pins->client;
	struct pin *pin = pin_behind(pins, pins->next_ino);

	if (!pin || c->life != CL_RUNNING) {
		pins->next_ino = 0;
		loop_timer_start(c->options.loop, &pins->look, PINS_LOOK_MS);
		return;
	}
	pins->next_ino = pin->ino;
	pins->is_asking = true;
	pins->ask = (struct cl_op){ .kind = CL_GETATTR, .ino = pin->ino, .done = look_done,
				    .user = pins };
	client_submit(c, &pins->ask);
}

static void look_fired(struct loop_timer *timer)
{
	struct cl_pins *pins = container_of(timer, struct cl_pins, look);

	if (!pins->is_asking)
		look_on(pins);
}

/* --- public ----------------------------------------------------------------------------------- */

int cl_pins_create(struct client *c, const char *path, struct cl_pins **out)
{
	struct cl_pins *pins = calloc(1, sizeof *pins);
	int rc = pins ? 0 : -E_NOMEM;

	if (rc < 0)
		return rc;
	pins->client = c;
	pins->look.fn = look_fired;
	pins->path = path ? strdup(path) : NULL;
	if (path && !pins->path)
		rc = -E_NOMEM;
	if (rc == 0)
		rc = file_read(pins);
	HASH_SORT(pins->by_ino, by_ino);
	if (rc < 0) {
		cl_pins_destroy(pins);
		return rc;
	}
	*out = pins;
	return 0;
}

/* Pins in the tiers go with the tiers: they are not kept there. */
void cl_pins_destroy(struct cl_pins *pins)
{
	struct pin *pin, *next;

	if (!pins)
		return;
	loop_timer_stop(pins->client->options.loop, &pins->look);
	HASH_ITER(hh, pins->by_ino, pin, next) {
		HASH_DEL(pins->by_ino, pin);
		free(pin);
	}
	free(pins->path);
	free(pins);
}

void cl_pins_start(struct cl_pins *pins)
{
	loop_timer_start(pins->client->options.loop, &pins->look, 0);
}

int cl_pins_set(struct cl_pins *pins, const struct cl_node *node, bool pinned)
{
	struct pin *pin = pin_find(pins, node->ino);
	int rc;

	if (!pinned) {
		if (!pin)
			return 0;
		pin_drop(pins, pin);
		return file_write(pins);
	}
	if (!pin && HASH_COUNT(pins->by_ino) >= PINS_MAX)
		return -E_TOOBIG;
	if (!pin) {
		pin = pin_add(pins, node->ino);
		if (!pin)
			return -E_NOMEM;
		HASH_SORT(pins->by_ino, by_ino);
		rc = file_write(pins);
		if (rc < 0) {
			pin_drop(pins, pin);
			return rc;
		}
	}
	return content_take(pins, pin, &node->attr.root);
}

void cl_pins_changed(struct cl_pins *pins, inode_no ino)
{
	if (pins->is_asking || !pin_find(pins, ino))
		return;			/* a look under way comes by, or the next one does */
	pins->next_ino = 0;
	loop_timer_start(pins->client->options.loop, &pins->look, 0);
}

bool cl_pins_has(const struct cl_pins *pins, inode_no ino)
{
	return pin_find(pins, ino) != NULL;
}

uint32_t cl_pins_count(const struct cl_pins *pins)
{
	return HASH_COUNT(pins->by_ino);
}

uint32_t cl_pins_list(const struct cl_pins *pins, inode_no after, inode_no *out, uint32_t max)
{
	const struct pin *pin;
	uint32_t count = 0;

	for (pin = pin_behind(pins, after); pin && count < max; pin = pin->hh.next)
		out[count++] = pin->ino;
	return count;
}
