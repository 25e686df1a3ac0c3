/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn clone: a file or a whole tree, copied by reference. The metadata server builds it out of
 * sight, a step for each question of ours, and then shows it under its name; whatever ends us
 * before makes it remove what was built.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/command.h"
#include "tools/mount_client.h"

#define PROGRESS_MS 2000u	/* what is shorter needs none */
#define PAUSE_US    20000u	/* before something that is busy is asked again */
#define DROP_S       2u	/* for a clone to be removed, before it is left to the server */

struct clone {
	char *source, *target;
	bool json;
	struct mount_client *from, *folder;
	char name[NAME_BYTES_MAX + 1];
	uint64_t ino, names, bytes, begun_ms;
	char ticket[17];
	bool is_begun, is_built, is_bar_shown;
};

static volatile sig_atomic_t is_interrupted;

static void interrupted(int signal_number)
{
	(void)signal_number;
	is_interrupted = 1;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- the command line ------------------------------------------------------------------------- */

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "print JSON", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct clone *c = state->input;

	switch (key) {
	case 'j':
		c->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (c->target)
			return ARGP_ERR_UNKNOWN;
		*(c->source ? &c->target : &c->source) = text;
		return 0;
	case ARGP_KEY_END:
		if (!c->target)
			argp_error(state, "wants a source and a name for the clone");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options, .parser = parse_option, .args_doc = "SOURCE CLONE",
	.doc = "Copy a file, or a folder with all below it, by reference: no content moves, and "
	       "changes of one do not show in the other.\v"
	       "The clone is built out of sight and shown when it is complete. Every file is there "
	       "as it was published at one moment while it was built; see cairn-clone(1).",
};

/* --- source and place ------------------------------------------------------------------------- */

static int open_place(struct clone *c, struct error *err)
{
	char folder[PATH_MAX], last[PATH_MAX];
	const char *name;

	if (!text_copy(folder, sizeof folder, c->target) ||
	    !text_copy(last, sizeof last, c->target))
		return error_set(err, -E_NAMETOOLONG, "cannot make '%s'", c->target);
	name = basename(last);
	if (!text_copy(c->name, sizeof c->name, name))
		return error_set(err, -E_NAMETOOLONG, "cannot make '%s'", c->target);
	if (faccessat(AT_FDCWD, c->target, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return error_set(err, -E_EXIST, "cannot make '%s'", c->target);
	return mount_client_open_exactly(dirname(folder), &c->folder, err);
}

static int open_both(struct clone *c, struct error *err)
{
	int rc = mount_client_open_exactly(c->source, &c->from, err);

	if (rc == 0)
		rc = open_place(c, err);
	if (rc == 0 && !mount_client_is_same(c->from, c->folder))
		rc = error_set(err, -E_XDEV, "cannot clone '%s' to '%s'", c->source, c->target);
	return rc;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* What the metadata server refused is told in the answer. */
static int refusal(const struct clone *c, const json_t *reply, struct error *err)
{
	int sys = (int)mount_u64(reply, "error");
	const char *name = mount_text(reply, "name");

	if (sys == 0)
		return 0;
	return error_say(err, error_from_errno(sys), "cannot clone '%s' to '%s'%s%s%s: %s",
			 c->source, c->target, *name ? ": '" : "", name, *name ? "'" : "",
			 mount_text(reply, "text"));
}

static int ask(struct clone *c, struct mount_client *m, json_t *request, struct error *err)
{
	json_t *reply = NULL;
	int rc = mount_client_ask(m, request, &reply, err);

	if (rc == 0)
		rc = refusal(c, reply, err);
	if (rc == 0) {
		c->ino = mount_u64(reply, "ino");
		(void)text_copy(c->ticket, sizeof c->ticket, mount_text(reply, "ticket"));
		c->is_built = json_is_true(json_object_get(reply, "built"));
		c->names = MAX_OF(c->names, mount_u64(reply, "names"));
		c->bytes = MAX_OF(c->bytes, mount_u64(reply, "bytes"));
	}
	json_decref(reply);
	return rc;
}

static json_t *about(const struct clone *c, const char *what)
{
	return json_pack("{s:s, s:I, s:s}", "do", what, "ino", (json_int_t)c->ino, "ticket",
			 c->ticket);
}

static void progress_wipe(struct clone *c)
{
	if (c->is_bar_shown)
		fprintf(stderr, "\r%79s\r", "");
	c->is_bar_shown = false;
}

static void progress_show(struct clone *c)
{
	char size[TEXT_BYTES_HUMAN];

	if (now_ms() - c->begun_ms < PROGRESS_MS || !isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r%llu names, %s  ", (unsigned long long)c->names,
		text_bytes_human(size, c->bytes));
	c->is_bar_shown = true;
}

/* Ask until it is not only busy. */
static int ask_again(struct clone *c, struct mount_client *m, json_t *request, struct error *err)
{
	int rc;

	for (;;) {
		json_t *copy = json_deep_copy(request);

		rc = ask(c, m, copy, err);
		if (rc != -E_AGAIN || is_interrupted)
			break;
		(void)usleep(PAUSE_US);
	}
	json_decref(request);
	return rc;
}

static int build(struct clone *c, struct error *err)
{
	int rc = ask_again(c, c->from,
			   json_pack("{s:s, s:I}", "do", "clone-begin", "parent",
				     (json_int_t)mount_client_ino(c->folder)), err);

	c->is_begun = rc == 0;
	while (rc == 0 && !c->is_built) {
		if (is_interrupted)
			return -E_INTR;
		rc = ask_again(c, c->from, about(c, "clone-step"), err);
		progress_show(c);
	}
	return rc;
}

static int show(struct clone *c, struct error *err)
{
	char hex[2 * NAME_BYTES_MAX + 1];
	json_t *request = about(c, "clone-show");

	text_hex(hex, c->name, strlen(c->name));
	if (!request || json_object_set_new(request, "name", json_string(hex)) < 0) {
		json_decref(request);
		return error_set(err, -E_NOMEM, "cannot make '%s'", c->target);
	}
	return ask_again(c, c->folder, request, err);
}

/* Nobody hears of it if that fails: the server removes what nobody goes on with. */
static void drop(struct clone *c)
{
	struct error unheard = { 0 };

	(void)alarm(DROP_S);	/* who has interrupted it wants to go */
	(void)!ask(c, c->folder, about(c, "clone-drop"), &unheard);
}

static void report(const struct clone *c)
{
	char size[TEXT_BYTES_HUMAN];
	uint64_t ms = now_ms() - c->begun_ms;

	if (c->json)
		printf("{\"names\": %llu, \"bytes\": %llu, \"ms\": %llu}\n",
		       (unsigned long long)c->names, (unsigned long long)c->bytes,
		       (unsigned long long)ms);
	else
		printf("%llu name%s, %s: cloned in %llu.%03llu s\n", (unsigned long long)c->names,
		       c->names == 1 ? "" : "s", text_bytes_human(size, c->bytes),
		       (unsigned long long)ms / 1000, (unsigned long long)ms % 1000);
}

int cmd_clone(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = interrupted };
	struct clone c = { .begun_ms = now_ms() };
	struct error err = { 0 };
	int rc, status;

	if (argp_parse(&argp, argc, argv, 0, NULL, &c) != 0)
		return COMMAND_USAGE;
	rc = open_both(&c, &err);	/* a signal ends it: there is nothing to remove */
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
	(void)sigaction(SIGALRM, &action, NULL);
	if (rc == 0)
		rc = build(&c, &err);
	if (rc == 0)
		rc = show(&c, &err);
	progress_wipe(&c);
	if (rc < 0 && is_interrupted)
		rc = error_say(&err, -E_INTR, "interrupted; nothing was made");
	if (rc < 0 && c.is_begun)
		drop(&c);
	status = rc < 0 ? command_fail("clone", &err) : COMMAND_DONE;
	if (rc == 0)
		report(&c);
	mount_client_close(c.folder);
	mount_client_close(c.from);
	return status;
}
