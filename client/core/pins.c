/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins in an array in order of their inodes; contents that they pin by root, counted. See pins.h.
 */
#include "client/core/pins.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#include "client/core/fill.h"
#include "client/core/kept.h"
#include "client/core/node.h"
#include "fs/base/log.h"

#define LOG_MODULE "pins"

#define FILE_HEAD "cairn pins 1"

struct content {
	uint8_t key[ROOT_BYTES];
	struct root root;
	uint32_t pin_count;
	UT_hash_handle hh;
};

struct pin {
	inode_no ino;
	struct content *content;	/* that is pinned in the tiers for it; NULL: none */
	bool is_due;
	struct pin *due_prev, *due_next;
};

struct cl_pins {
	struct client *client;
	struct cl_kept *kept;		/* NULL: not kept */
	struct pin **at;
	uint32_t count, capacity;
	struct content *contents;
	uint64_t bytes;			/* of all contents */
	uint64_t bytes_max, file_bytes_max;	/* what the tiers could hold; the largest of them */
	struct pin *due;		/* to be looked at before the others */
	struct loop_timer look, turn, noting;
	struct cl_op ask;		/* attributes of one of them */
	bool is_asking, is_passing;	/* a pass through all is under way, */
	inode_no next_ino;		/* and goes on with the first behind it */
};

/* --- content ---------------------------------------------------------------------------------- */

static struct content *content_find(const struct cl_pins *pins, const struct root *root)
{
	uint8_t key[ROOT_BYTES];
	struct content *content;

	root_encode(root, key);
	HASH_FIND(hh, pins->contents, key, sizeof key, content);
	return content;
}

static int content_make(struct cl_pins *pins, const struct root *root, struct content **out)
{
	struct content *content = calloc(1, sizeof *content);
	int rc = content ? tiers_pin(pins->client->options.tiers, root, true) : -E_NOMEM;

	if (rc < 0) {
		free(content);
		return rc;
	}
	root_encode(root, content->key);
	content->root = *root;
	HASH_ADD(hh, pins->contents, key, sizeof content->key, content);
	if (!content->hh.tbl) {
		rc = tiers_pin(pins->client->options.tiers, root, false);
		free(content);
		return rc < 0 ? rc : -E_NOMEM;
	}
	pins->bytes += root->length;
	*out = content;
	return 0;
}

static void content_leave(struct cl_pins *pins, struct pin *pin)
{
	struct content *content = pin->content;

	pin->content = NULL;
	if (!content || --content->pin_count > 0)
		return;
	if (tiers_pin(pins->client->options.tiers, &content->root, false) < 0)
		log_warn("cannot unpin the old content of inode %llu",
			 (unsigned long long)pin->ino);
	pins->bytes -= content->root.length;
	HASH_DEL(pins->contents, content);
	free(content);
}

/* The inode has this content now: keep it, and no longer what it had before. */
static int content_take(struct cl_pins *pins, struct pin *pin, const struct root *root)
{
	struct client *c = pins->client;
	int rc = 0;

	if (pin->content && !root_equal(&pin->content->root, root))
		content_leave(pins, pin);
	if (!cl_fill_may(c, root))
		return 0;
	if (!pin->content) {
		struct content *content = content_find(pins, root);

		if (!content)
			rc = content_make(pins, root, &content);
		if (rc < 0)
			return rc;
		content->pin_count++;
		pin->content = content;
	}
	rc = cl_fill_start(c, root, CL_FILL_WARM, NULL);
	return MIN_OF(rc, 0);
}

/* Can the tiers hold this, beside what is pinned? */
static bool has_room(const struct cl_pins *pins, const struct root *root)
{
	return !cl_fill_may(pins->client, root) || content_find(pins, root) ||
	       (root->length <= pins->file_bytes_max &&
		pins->bytes <= pins->bytes_max && root->length <= pins->bytes_max - pins->bytes);
}

/* --- the table -------------------------------------------------------------------------------- */

/* The first that is not before `ino`. */
static uint32_t place_of(const struct cl_pins *pins, inode_no ino)
{
	uint32_t from = 0, to = pins->count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;

		if (pins->at[middle]->ino < ino)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static struct pin *pin_find(const struct cl_pins *pins, inode_no ino)
{
	uint32_t i = place_of(pins, ino);

	return i < pins->count && pins->at[i]->ino == ino ? pins->at[i] : NULL;
}

static struct pin *pin_behind(const struct cl_pins *pins, inode_no ino)
{
	uint32_t i = ino < UINT64_MAX ? place_of(pins, ino + 1) : pins->count;

	return i < pins->count ? pins->at[i] : NULL;
}

/* One that is not there yet. NULL: out of memory. */
static struct pin *pin_add(struct cl_pins *pins, inode_no ino)
{
	uint32_t i = place_of(pins, ino);
	struct pin *pin;

	if (pins->count == pins->capacity) {
		uint32_t capacity = pins->capacity ? 2 * pins->capacity : 16;
		struct pin **at = realloc(pins->at, capacity * sizeof(struct pin *));

		if (!at)
			return NULL;
		pins->at = at;
		pins->capacity = capacity;
	}
	pin = calloc(1, sizeof *pin);
	if (!pin)
		return NULL;
	pin->ino = ino;
	memmove(&pins->at[i + 1], &pins->at[i], (pins->count - i) * sizeof(struct pin *));
	pins->at[i] = pin;
	pins->count++;
	return pin;
}

static void due_leave(struct cl_pins *pins, struct pin *pin)
{
	if (pin->is_due)
		DL_DELETE2(pins->due, pin, due_prev, due_next);
	pin->is_due = false;
}

static void pin_drop(struct cl_pins *pins, struct pin *pin)
{
	uint32_t i = place_of(pins, pin->ino);

	ASSERT(pins->at[i] == pin);
	pins->count--;
	memmove(&pins->at[i], &pins->at[i + 1], (pins->count - i) * sizeof(struct pin *));
	due_leave(pins, pin);
	content_leave(pins, pin);
	free(pin);
}

/* --- the file --------------------------------------------------------------------------------- */

/* Who pins thousands is noted now and then. */
static void note(struct cl_pins *pins)
{
	if (pins->kept && !pins->noting.is_active)
		loop_timer_start(pins->client->options.loop, &pins->noting, PINS_NOTE_MS);
}

/* A failure is in the log and in `cairn cache`; what is pinned is so until the mount ends. */
static void noting_fired(struct loop_timer *timer)
{
	struct cl_pins *pins = container_of(timer, struct cl_pins, noting);
	struct text text;

	text_init(&text, PINS_TEXT_BYTES_MAX);
	text_add(&text, FILE_HEAD "\n");
	for (uint32_t i = 0; i < pins->count; i++)
		text_addf(&text, "%llu\n", (unsigned long long)pins->at[i]->ino);
	if (text.failed)
		log_warn("no memory to note the pins: the next change does");
	else
		cl_kept_write(pins->kept, &text);
	text_finish(&text);
}

static int by_number(const void *a, const void *b)
{
	const inode_no *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

uint32_t cl_pins_parse(const char *text, inode_no *out, bool *is_sound)
{
	uint32_t count = 0, kept = 0;
	char line[32];

	*is_sound = strncmp(text, FILE_HEAD "\n", sizeof FILE_HEAD) == 0;
	for (text += strcspn(text, "\n"); *text == '\n'; text += strcspn(text, "\n")) {
		size_t len = strcspn(++text, "\n");
		uint64_t ino;

		if (len == 0 && *text == '\0')
			break;
		if (len >= sizeof line || count == PINS_MAX) {
			*is_sound = false;
			continue;
		}
		memcpy(line, text, len);
		line[len] = '\0';
		if (text_parse_u64(line, &ino) < 0 || ino == 0 || ino > INT64_MAX)
			*is_sound = false;
		else
			out[count++] = ino;
	}
	qsort(out, count, sizeof out[0], by_number);
	for (uint32_t i = 0; i < count; i++)
		if (kept == 0 || out[kept - 1] != out[i])
			out[kept++] = out[i];
	return kept;
}

static int file_read(struct cl_pins *pins, const char *path)
{
	inode_no *inodes = NULL;
	char *text = NULL;
	size_t len = 0;
	bool is_sound;
	int rc = cl_kept_read(path, PINS_TEXT_BYTES_MAX, &text, &len);

	if (rc < 0 && rc != -E_NOMEM) {
		log_warn("cannot read '%s': no file is pinned: %s", path, error_text(rc));
		return 0;
	}
	if (rc == 0 && text)
		inodes = calloc(PINS_MAX, sizeof *inodes);
	if (inodes) {
		uint32_t count = cl_pins_parse(text, inodes, &is_sound);

		for (uint32_t i = 0; i < count && rc == 0; i++)
			rc = pin_add(pins, inodes[i]) ? 0 : -E_NOMEM;
		if (!is_sound)
			log_warn("'%s' is damaged: some pins may be missing; see cairn cache",
				 path);
	} else if (text) {
		rc = -E_NOMEM;
	}
	free(inodes);
	free(text);
	return rc;
}

/* --- the look --------------------------------------------------------------------------------- */

static void look_done(struct cl_op *op)
{
	struct cl_pins *pins = op->user;
	struct pin *pin = pin_find(pins, op->ino);
	int rc = op->rc;

	pins->is_asking = false;
	loop_timer_start(pins->client->options.loop, &pins->turn, 0);
	if (!pin)
		return;
	if (rc == -E_NOENT || rc == -E_STALE || (rc == 0 && op->attr.st.st_nlink == 0)) {
		log_info("inode %llu is gone, and its pin with it", (unsigned long long)op->ino);
		pin_drop(pins, pin);
		note(pins);
		return;
	}
	if (rc == 0)
		rc = content_take(pins, pin, &op->attr.root);
	if (rc < 0 && rc != -E_NODEV && rc != -E_OVERLOADED && rc != -E_SHUTDOWN)
		log_warn("cannot keep pinned inode %llu in a tier: %s",
			 (unsigned long long)op->ino, error_text(rc));
}

/* The next one; each in a turn of its own. */
static void turn_fired(struct loop_timer *timer)
{
	struct cl_pins *pins = container_of(timer, struct cl_pins, turn);
	struct client *c = pins->client;
	struct pin *pin = pins->due;

	if (pins->is_asking || c->life != CL_RUNNING)
		return;
	if (pin) {
		due_leave(pins, pin);
	} else if (pins->is_passing) {
		pin = pin_behind(pins, pins->next_ino);
		pins->is_passing = pin != NULL;
		pins->next_ino = pin ? pin->ino : 0;
		if (!pin)
			loop_timer_start(c->options.loop, &pins->look, PINS_LOOK_MS);
	}
	if (!pin)
		return;
	pins->is_asking = true;
	pins->ask = (struct cl_op){ .kind = CL_GETATTR, .ino = pin->ino, .done = look_done,
				    .user = pins };
	client_run(c, &pins->ask);
}

static void look_fired(struct loop_timer *timer)
{
	struct cl_pins *pins = container_of(timer, struct cl_pins, look);

	pins->is_passing = true;
	pins->next_ino = 0;
	loop_timer_start(pins->client->options.loop, &pins->turn, 0);
}

/* --- public ----------------------------------------------------------------------------------- */

int cl_pins_create(struct client *c, const char *path, struct cl_pins **out)
{
	struct cl_pins *pins = calloc(1, sizeof *pins);
	struct tiers_info info;
	int rc = 0;

	if (!pins)
		return -E_NOMEM;
	pins->client = c;
	pins->look.fn = look_fired;
	pins->turn.fn = turn_fired;
	pins->noting.fn = noting_fired;
	tiers_info(c->options.tiers, &info);
	for (uint32_t i = 0; i < info.place_count; i++) {
		pins->bytes_max += info.places[i].bytes_max;
		pins->file_bytes_max = MAX_OF(pins->file_bytes_max, info.places[i].bytes_max);
	}
	if (path)
		rc = cl_kept_create(c->options.loop, path, &pins->kept);
	if (rc == 0 && path)
		rc = file_read(pins, path);
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
	struct content *content, *next;

	if (!pins)
		return;
	loop_timer_stop(pins->client->options.loop, &pins->look);
	loop_timer_stop(pins->client->options.loop, &pins->turn);
	loop_timer_stop(pins->client->options.loop, &pins->noting);
	for (uint32_t i = 0; i < pins->count; i++)
		free(pins->at[i]);
	HASH_ITER(hh, pins->contents, content, next) {
		HASH_DEL(pins->contents, content);
		free(content);
	}
	cl_kept_destroy(pins->kept);
	free(pins->at);
	free(pins);
}

void cl_pins_start(struct cl_pins *pins)
{
	loop_timer_start(pins->client->options.loop, &pins->look, 0);
}

bool cl_pins_is_busy(const struct cl_pins *pins)
{
	return pins && pins->kept && (pins->noting.is_active || cl_kept_is_busy(pins->kept));
}

const char *cl_pins_problem(const struct cl_pins *pins)
{
	int rc = pins->kept ? cl_kept_rc(pins->kept) : 0;

	return rc < 0 ? error_text(rc) : "";
}

int cl_pins_set(struct cl_pins *pins, const struct cl_node *node, bool pinned)
{
	const struct root *root = &node->attr.root;
	struct pin *pin = pin_find(pins, node->ino);
	int rc;

	if (!pinned) {
		if (pin) {
			pin_drop(pins, pin);
			note(pins);
		}
		return 0;
	}
	if (!pin && pins->count >= PINS_MAX)
		return -E_TOOBIG;
	if ((!pin || !pin->content) && !has_room(pins, root))
		return -E_NOSPC;
	if (pin)
		return content_take(pins, pin, root);
	pin = pin_add(pins, node->ino);
	if (!pin)
		return -E_NOMEM;
	rc = content_take(pins, pin, root);
	if (rc < 0 && rc != -E_OVERLOADED)
		pin_drop(pins, pin);
	else
		note(pins);
	return rc;
}

void cl_pins_changed(struct cl_pins *pins, inode_no ino)
{
	struct pin *pin = pins ? pin_find(pins, ino) : NULL;

	if (!pin || pin->is_due)
		return;
	pin->is_due = true;
	DL_APPEND2(pins->due, pin, due_prev, due_next);
	if (!pins->is_asking && !pins->turn.is_active)
		loop_timer_start(pins->client->options.loop, &pins->turn, PINS_CHANGED_MS);
}

bool cl_pins_has(const struct cl_pins *pins, inode_no ino)
{
	return pin_find(pins, ino) != NULL;
}

uint32_t cl_pins_count(const struct cl_pins *pins)
{
	return pins->count;
}

uint32_t cl_pins_list(const struct cl_pins *pins, inode_no after, inode_no *out, uint32_t max)
{
	uint32_t count = 0;

	if (after == UINT64_MAX)
		return 0;
	for (uint32_t i = place_of(pins, after + 1); i < pins->count && count < max; i++)
		out[count++] = pins->at[i]->ino;
	return count;
}
