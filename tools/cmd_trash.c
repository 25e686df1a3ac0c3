/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn trash: what was deleted below a folder and is kept for a time. The metadata server keeps
 * and checks; here it is asked through the mount, paths are made of what it lists, and a folder is
 * restored with what was deleted below it.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/command.h"
#include "tools/mount_client.h"

#define PATH_BYTES_MAX 4096u
#define EMPTY_US       10000u	/* between two requests to go on */

struct entry {
	uint64_t ino, time_ns, size;
	uint32_t uid, mode;
	char *path;
};

struct trash {
	const char *action, *words[2], *folder, *to;
	bool json, force, parents;
	uint64_t age_ms;
	struct mount_client *m;
	uint64_t tree, keep_ms, entries, bytes;
	bool is_on;
	struct entry *list;
	size_t count, capacity;
};

/* --- the command line ------------------------------------------------------------------------- */

static const struct argp_option options[] = {
	{"keep", 'k', "TIME", 0, "enable: how long, as 7d, 12h (default: 7d)", 0},
	{"older-than", 'o', "TIME", 0, "empty: only what was deleted so long ago", 0},
	{"to", 't', "PATH", 0, "restore: under this name", 0},
	{"parents", 'p', NULL, 0, "restore: make folders that are missing", 0},
	{"force", 'f', NULL, 0, "restore: replace what has the name now", 0},
	{"json", 'j', NULL, 0, "print JSON", 0},
	{0},
};

static const struct { char unit; uint64_t ms; } units[] = {
	{'w', 604800000}, {'d', 86400000}, {'h', 3600000}, {'m', 60000}, {'s', 1000},
};

static int parse_time(const char *text, uint64_t *ms)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-' || value > 1000000000)
		return -E_INVAL;
	for (size_t i = 0; i < ARRAY_COUNT(units); i++)
		if (end[0] == units[i].unit && end[1] == '\0') {
			*ms = value * units[i].ms;
			return 0;
		}
	*ms = value * 1000;
	return *end ? -E_INVAL : 0;
}

static void take_time(struct argp_state *state, const char *text, uint64_t *out)
{
	if (parse_time(text, out) < 0)
		argp_error(state, "'%s' is no time, such as 90s, 12h or 7d", text);
}

static void check_words(const struct trash *t, struct argp_state *state)
{
	static const char *const actions[] = { "list", "empty", "enable", "disable", "restore" };
	size_t i = 0;

	while (i < ARRAY_COUNT(actions) && t->action && strcmp(t->action, actions[i]) != 0)
		i++;
	if (!t->action || i == ARRAY_COUNT(actions))
		argp_error(state, "wants enable, disable, list, restore or empty");
	else if (i >= 2 && !t->words[0])
		argp_error(state, "%s wants a %s", t->action, i == 4 ? "name" : "folder");
	else if (i < 4 && t->words[1])
		argp_error(state, "%s takes one folder", t->action);
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct trash *t = state->input;

	switch (key) {
	case 'k':
		take_time(state, text, &t->keep_ms);
		if (t->keep_ms == 0)
			argp_error(state, "to keep nothing, disable the trash");
		return 0;
	case 'o':
		take_time(state, text, &t->age_ms);
		return 0;
	case 't':
		t->to = text;
		return 0;
	case 'p':
		t->parents = true;
		return 0;
	case 'f':
		t->force = true;
		return 0;
	case 'j':
		t->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 2)
			return ARGP_ERR_UNKNOWN;
		*(state->arg_num ? &t->words[state->arg_num - 1] : &t->action) = text;
		return 0;
	case ARGP_KEY_END:
		check_words(t, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options, .parser = parse_option,
	.args_doc = "enable FOLDER\ndisable FOLDER\nlist [FOLDER]\nrestore NAME [FOLDER]\n"
		    "empty [FOLDER]",
	.doc = "Keep for a time what is deleted or replaced below a folder, and bring it back.\v"
	       "NAME is a path below the folder that has the trash, or the number that list shows; "
	       "FOLDER is any folder of the tree, by default the current one. See cairn-trash(1).",
};

/* --- asking ----------------------------------------------------------------------------------- */

static int ask(struct mount_client *m, json_t *request, json_t **reply, struct error *err)
{
	json_t *answer = NULL;
	int rc = mount_client_ask(m, request, &answer, err);
	int sys = rc < 0 ? 0 : (int)mount_u64(answer, "error");

	if (sys)
		rc = error_say(err, error_from_errno(sys), "%s", mount_text(answer, "text"));
	if (rc == 0 && reply)
		*reply = answer;
	else
		json_decref(answer);
	return rc;
}

/* What is asked of the folder; `none` says what it means that there is no trash. */
static int ask_folder(struct trash *t, json_t *request, json_t **reply, const char *none,
		      struct error *err)
{
	int rc = ask(t->m, request, reply, err);

	if (rc == -E_NOENT)
		return error_say(err, rc, "'%s' %s", t->folder, none);
	if (rc == -E_PERM)
		return error_say(err, rc, "only root and the owner of '%s' may %s its trash",
				 t->folder, t->action);
	return rc < 0 ? error_wrap(err, "'%s'", t->folder) : 0;
}

static const char no_trash[] = "is in no tree with a trash: 'cairn trash enable' makes one";

static char *path_of_hex(const char *hex)
{
	size_t len = strlen(hex) / 2;
	char *path = calloc(1, len + 1);

	if (path && text_parse_hex(hex, (uint8_t *)path, len) < 0)
		path[0] = '\0';
	return path;
}

static int entry_add(struct trash *t, const json_t *json)
{
	struct entry *at;

	if (t->count == t->capacity) {
		size_t capacity = t->capacity ? 2 * t->capacity : 64;

		at = realloc(t->list, capacity * sizeof *at);
		if (!at)
			return -E_NOMEM;
		t->list = at;
		t->capacity = capacity;
	}
	at = &t->list[t->count];
	*at = (struct entry){ .ino = mount_u64(json, "ino"), .size = mount_u64(json, "size"),
			      .time_ns = mount_u64(json, "time_ns"),
			      .uid = (uint32_t)mount_u64(json, "uid"),
			      .mode = (uint32_t)mount_u64(json, "mode"),
			      .path = path_of_hex(mount_text(json, "path")) };
	if (!at->path)
		return -E_NOMEM;
	t->count++;
	return 0;
}

static int list_page(struct trash *t, uint64_t *after_ns, uint64_t *after_ino, bool *end,
		     struct error *err)
{
	json_t *reply = NULL, *entry;
	size_t i;
	int rc = ask_folder(t, json_pack("{s:s, s:I, s:I}", "do", "trash-list", "after_ns",
					 (json_int_t)*after_ns, "after_ino",
					 (json_int_t)*after_ino),
			    &reply, no_trash, err);

	if (rc < 0)
		return rc;
	t->tree = mount_u64(reply, "tree");
	t->is_on = json_is_true(json_object_get(reply, "on"));
	t->keep_ms = mount_u64(reply, "keep_ms");
	t->entries = mount_u64(reply, "entries");
	t->bytes = mount_u64(reply, "bytes");
	*end = json_is_true(json_object_get(reply, "end"));
	*after_ns = mount_u64(reply, "next_ns");
	*after_ino = mount_u64(reply, "next_ino");
	json_array_foreach(json_object_get(reply, "list"), i, entry)
		if (rc == 0)
			rc = entry_add(t, entry);
	json_decref(reply);
	return rc < 0 ? error_set(err, rc, "cannot list the trash") : 0;
}

static int list_all(struct trash *t, struct error *err)
{
	uint64_t after_ns = 0, after_ino = 0;
	bool end = false;
	int rc = 0;

	while (rc == 0 && !end)
		rc = list_page(t, &after_ns, &after_ino, &end, err);
	return rc;
}

/* --- list ------------------------------------------------------------------------------------- */

static void print_entry(const struct entry *e)
{
	char size[TEXT_BYTES_HUMAN], when[32] = "";
	time_t seconds = (time_t)(e->time_ns / 1000000000u);
	struct tm tm;

	if (localtime_r(&seconds, &tm))
		(void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
	printf("%-10llu %s  uid %-6u %10s  %s%s\n", (unsigned long long)e->ino, when, e->uid,
	       S_ISDIR(e->mode) ? "-" : text_bytes_human(size, e->size), text_printable(e->path),
	       S_ISDIR(e->mode) ? "/" : "");
}

static void print_json(const struct trash *t)
{
	json_t *list = json_array(), *all;

	for (size_t i = 0; i < t->count; i++) {
		const struct entry *e = &t->list[i];
		json_t *path = json_string(e->path);

		if (!path) {		/* no UTF-8: what can be shown of it */
			(void)text_printable(e->path);
			path = json_string(e->path);
		}
		json_array_append_new(list, json_pack("{s:I, s:o, s:f, s:I, s:I, s:b}", "id",
						      (json_int_t)e->ino, "path", path, "deleted",
						      (double)e->time_ns / 1e9, "uid",
						      (json_int_t)e->uid, "bytes",
						      (json_int_t)e->size, "directory",
						      S_ISDIR(e->mode)));
	}
	all = json_pack("{s:b, s:I, s:I, s:I, s:o}", "on", t->is_on, "keep_s",
			(json_int_t)(t->keep_ms / 1000), "files", (json_int_t)t->entries, "bytes",
			(json_int_t)t->bytes, "entries", list);
	if (all)
		(void)json_dumpf(all, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
	printf("\n");
	json_decref(all);
}

static int run_list(struct trash *t, struct error *err)
{
	char size[TEXT_BYTES_HUMAN];
	size_t u = 0;
	int rc = list_all(t, err);

	if (rc < 0)
		return rc;
	if (t->json) {
		print_json(t);
		return 0;
	}
	for (size_t i = 0; i < t->count; i++)
		print_entry(&t->list[i]);
	while (u + 1 < ARRAY_COUNT(units) && t->keep_ms % units[u].ms != 0)
		u++;
	printf("%llu deleted, %s, kept for %llu%c%s\n", (unsigned long long)t->entries,
	       text_bytes_human(size, t->bytes), (unsigned long long)(t->keep_ms / units[u].ms),
	       units[u].unit, t->is_on ? "" : "; the trash is off, and empties itself");
	return 0;
}

/* --- restore ---------------------------------------------------------------------------------- */

/* Folders of a path, without its last name. */
static int make_parents(const char *path)
{
	char copy[PATH_MAX];

	if (!text_copy(copy, sizeof copy, path))
		return -E_NAMETOOLONG;
	for (char *s = copy + 1; (s = strchr(s, '/')); s++) {
		*s = '\0';
		if (mkdir(copy, 0777) != 0 && errno != EEXIST)
			return error_from_errno(errno);
		*s = '/';
	}
	return 0;
}

static int restore_as(struct trash *t, const struct entry *e, const char *folder, const char *name,
		      struct error *err)
{
	char hex[2 * NAME_BYTES_MAX + 1];
	struct mount_client *m = NULL;
	int rc;

	if (strlen(name) > NAME_BYTES_MAX)
		return error_say(err, -E_NAMETOOLONG, "the name is too long");
	text_hex(hex, name, strlen(name));
	rc = mount_client_open_exactly(folder, &m, err);
	if (rc == -E_NOENT)
		return error_say(err, rc, "the folder '%s' is not there: --parents makes it",
				 folder);
	if (rc == 0)
		rc = ask(m, json_pack("{s:s, s:I, s:I, s:I, s:s}", "do", "trash-restore", "ino",
				      (json_int_t)e->ino, "tree", (json_int_t)t->tree, "time_ns",
				      (json_int_t)e->time_ns, "name", hex), NULL, err);
	mount_client_close(m);
	if (rc == -E_EXIST)
		return error_say(err, rc, "'%s/%s' exists already: --force replaces it, --to "
				 "restores elsewhere", folder, name);
	if (rc == -E_NOENT)
		return error_say(err, rc, "'%s' is not in the trash any more", e->path);
	return rc < 0 ? error_wrap(err, "cannot restore '%s/%s'", folder, name) : 0;
}

/* Beside it first, then over it by rename(2), which checks what the kernel checks. */
static int restore_over(struct trash *t, const struct entry *e, const char *path, struct error *err)
{
	char folder[PATH_MAX], beside[PATH_MAX + 64], name[64];
	int rc;

	if (!text_copy(folder, sizeof folder, path))
		return error_say(err, -E_NAMETOOLONG, "the path is too long");
	(void)dirname(folder);
	(void)snprintf(name, sizeof name, ".cairn-restored-%llu", (unsigned long long)e->ino);
	(void)snprintf(beside, sizeof beside, "%s/%s", folder, name);
	rc = restore_as(t, e, folder, name, err);
	if (rc == 0 && rename(beside, path) != 0)
		return error_say(err, error_from_errno(errno), "restored as '%s': %s", beside,
				 strerror(errno));
	return rc;
}

static int restore_one(struct trash *t, const struct entry *e, const char *path, bool parents,
		       struct error *err)
{
	char folder[PATH_MAX], last[PATH_MAX];
	struct stat st;
	int rc = parents ? make_parents(path) : 0;

	if (rc < 0)
		return error_set(err, rc, "cannot make the folders of '%s'", path);
	if (t->force && lstat(path, &st) == 0)
		return restore_over(t, e, path, err);
	if (!text_copy(folder, sizeof folder, path) || !text_copy(last, sizeof last, path))
		return error_say(err, -E_NAMETOOLONG, "the path is too long");
	return restore_as(t, e, dirname(folder), basename(last), err);
}

/* The newest of that name, or the one of that number. */
static const struct entry *entry_find(const struct trash *t, const char *name)
{
	const struct entry *found = NULL;
	char *end;
	unsigned long long id = strtoull(name, &end, 10);

	while (name[0] == '.' && name[1] == '/')
		name += 2;
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->list[i].path, name) == 0)
			found = &t->list[i];	/* they are listed by time */
	for (size_t i = 0; !found && *end == '\0' && i < t->count; i++)
		if (t->list[i].ino == id)
			found = &t->list[i];
	return found;
}

/* Deleted below that folder, and the last to have its path? */
static bool is_below(const struct trash *t, const struct entry *e, const struct entry *folder)
{
	size_t len = strlen(folder->path);

	if (e == folder || strncmp(e->path, folder->path, len) != 0 || e->path[len] != '/' ||
	    e->time_ns > folder->time_ns)
		return false;
	for (const struct entry *later = e + 1; later < t->list + t->count; later++)
		if (strcmp(later->path, e->path) == 0 && later->time_ns <= folder->time_ns)
			return false;
	return true;
}

/* The newest comes first: who empties a folder deletes it last. */
static int restore_below(struct trash *t, const struct entry *folder, const char *path,
			 uint64_t *count, struct error *err)
{
	char target[PATH_MAX + PATH_BYTES_MAX];
	int rc = 0;

	for (size_t i = t->count; i-- > 0 && rc == 0;) {
		const struct entry *e = &t->list[i];

		if (!is_below(t, e, folder))
			continue;
		rc = snprintf(target, sizeof target, "%s%s", path,
			      e->path + strlen(folder->path));
		if (rc < 0 || (size_t)rc >= sizeof target)
			return error_say(err, -E_NAMETOOLONG, "the path is too long");
		rc = restore_one(t, e, target, true, err);
		*count += rc == 0;
	}
	return rc;
}

/* The tree, from a folder in it: up and up. */
static int tree_path(const struct trash *t, const char *from, char out[PATH_MAX])
{
	size_t len = strlen(from);
	struct stat st;

	if (len >= PATH_MAX)
		return -E_NAMETOOLONG;
	memcpy(out, from, len + 1);
	while (stat(out, &st) == 0 && mount_client_holds(t->m, &st)) {
		if (st.st_ino == t->tree)
			return 0;
		if (st.st_ino == INODE_ROOT || len + sizeof "/.." > PATH_MAX)
			break;
		memcpy(out + len, "/..", sizeof "/..");
		len += 3;
	}
	return -E_NOENT;
}

static int run_restore(struct trash *t, struct error *err)
{
	char top[PATH_MAX], path[PATH_MAX + PATH_BYTES_MAX + 2];
	const struct entry *e;
	uint64_t count = 0;
	int rc = list_all(t, err);

	if (rc < 0)
		return rc;
	e = entry_find(t, t->words[0]);
	if (!e)
		return error_say(err, -E_NOENT, "'%s' is not in this trash, or somebody else "
				 "deleted it: see 'cairn trash list'", t->words[0]);
	if (!t->to) {
		rc = tree_path(t, t->folder, top);
		if (rc < 0)
			return error_say(err, rc, "the folder with the trash is not above '%s'; "
					 "say where to with --to", t->folder);
		(void)snprintf(path, sizeof path, "%s/%s", top, e->path);
	} else if (!text_copy(path, sizeof path, t->to)) {
		return error_say(err, -E_NAMETOOLONG, "the path is too long");
	}
	rc = restore_one(t, e, path, t->parents, err);
	count += rc == 0;
	if (rc == 0 && S_ISDIR(e->mode))
		rc = restore_below(t, e, path, &count, err);
	if (rc < 0)
		return rc;
	if (t->json)
		printf("{\"restored\": %llu}\n", (unsigned long long)count);
	else
		printf("%llu restored\n", (unsigned long long)count);
	return 0;
}

/* --- the others ------------------------------------------------------------------------------- */

static int run_empty(struct trash *t, struct error *err)
{
	uint64_t from_ns = 0;
	bool done = false;
	int rc = 0;

	while (rc == 0 && !done) {
		json_t *reply = NULL;

		rc = ask_folder(t, json_pack("{s:s, s:I, s:I}", "do", "trash-empty", "keep_ms",
					     (json_int_t)t->age_ms, "time_ns",
					     (json_int_t)from_ns),
				&reply, no_trash, err);
		from_ns = rc == 0 ? mount_u64(reply, "next_ns") : 0;
		done = rc == 0 && json_is_true(json_object_get(reply, "done"));
		json_decref(reply);
		if (rc == 0 && !done)
			(void)usleep(EMPTY_US);
	}
	return rc;
}

static int run(struct trash *t, struct error *err)
{
	const char *folder = t->words[strcmp(t->action, "restore") == 0];
	int rc;

	t->folder = folder ? folder : ".";
	rc = mount_client_open_exactly(t->folder, &t->m, err);
	if (rc < 0)
		return rc;
	if (strcmp(t->action, "enable") == 0)
		return ask_folder(t, json_pack("{s:s, s:I}", "do", "trash-enable", "keep_ms",
					       (json_int_t)(t->keep_ms ? t->keep_ms : 604800000)),
				  NULL, "is not there any more", err);
	if (strcmp(t->action, "disable") == 0)
		return ask_folder(t, json_pack("{s:s}", "do", "trash-disable"), NULL,
				  "has no trash of its own", err);
	if (strcmp(t->action, "list") == 0)
		return run_list(t, err);
	if (strcmp(t->action, "empty") == 0)
		return run_empty(t, err);
	return run_restore(t, err);
}

int cmd_trash(int argc, char **argv)
{
	struct trash t = { .age_ms = 0 };
	struct error err = { 0 };
	int status = COMMAND_DONE;

	/* Options may stand behind what they are about: nothing else is run here. */
	if (argp_parse(&argp, argc, argv, 0, NULL, &t) != 0)
		return COMMAND_USAGE;
	if (run(&t, &err) < 0)
		status = command_fail("trash", &err);
	for (size_t i = 0; i < t.count; i++)
		free(t.list[i].path);
	free(t.list);
	mount_client_close(t.m);
	return status;
}
