/* SPDX-License-Identifier: Apache-2.0 */
/* cairn reencode: how far chunk servers are with encoding blocks anew; begin a pass, pause it. */
#include "tools/command.h"

#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/admin.h"
#include "tools/named_servers.h"
#include "tools/status.h"

#define CALL_MS 5000u
#define POLL_US 200000u

/* Reencode.action of the wire. */
enum action { TELL, BEGIN, PAUSE };

struct reencode_arguments {
	struct command_target target;
	enum action action;
	bool wait;
	struct named_servers named;
};

/* What one look at the servers found. */
struct look {
	struct admin *admin;
	const struct reencode_arguments *a;
	enum action action;
	json_t *all; /* NULL: for people */
	bool is_quiet;
	uint32_t running, wrong;
	uint64_t bytes_done, bytes_total;
	struct error why; /* of a server that does not answer */
};

static const struct argp_option options[] = {
	{"status", 's', NULL, 0, "tell how far the servers are (the default)", 0},
	{"now", 'n', NULL, 0, "begin a pass now that takes every block for cold", 0},
	{"wait", 'w', NULL, 0, "stay until no pass is running, with progress on a terminal", 0},
	{"stop", 'S', NULL, 0, "pause, until --now or a restart of the server", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct reencode_arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT: state->child_inputs[0] = &a->target; break;
	case 's': a->action = TELL; break;
	case 'n': a->action = BEGIN; break;
	case 'S': a->action = PAUSE; break;
	case 'w': a->wait = true; break;
	case ARGP_KEY_ARG:
		if (!named_servers_add(&a->named, text))
			argp_error(state, "too many servers");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options, parse_option, "[SERVER...]",
	"Chunk servers encode anew what nobody used for cs.cold_after, to make it smaller, and "
	"what is hot and dear to decode, to make it faster: one server after the other, and each "
	"encoding is decoded and compared before it is used. Show how far they are, begin a pass, "
	"or pause. SERVER: a number or an address; none: all.",
	command_target_options, NULL, NULL};

/* --- showing --- */

static const char *state_text(const Wire__ReencodeStatus *r)
{
	if (r->wrong)
		return "STOPPED";
	if (r->paused)
		return "paused";
	if (!r->running)
		return "idle";
	return r->turn ? "working" : "waiting";
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 100.0;
}

static void print_head(void)
{
	printf("%-6s %-8s %5s %8s %12s %12s %12s %12s  %s\n", "SERVER", "STATE", "PASS", "DONE",
	       "SPEED", "BLOCKS", "BEFORE", "AFTER", "LAST WHOLE PASS");
}

static void print_server(const Wire__ServerStatus *server, const Wire__ReencodeStatus *r)
{
	char speed[TEXT_BYTES_HUMAN], before[TEXT_BYTES_HUMAN], after[TEXT_BYTES_HUMAN], done[16],
		ended[STATUS_WHEN_BYTES];

	snprintf(done, sizeof done, "%.1f %%", percent(r->bytes_done, r->bytes_total));
	printf("%-6u %-8s %5llu %8s %10s/s %12llu %12s %12s  %s\n", server->server, state_text(r),
	       (unsigned long long)r->pass, r->running ? done : "-",
	       text_bytes_human(speed, r->bytes_per_s), (unsigned long long)r->blocks,
	       text_bytes_human(before, r->bytes_before), text_bytes_human(after, r->bytes_after),
	       status_when(ended, r->finished_wall_ns));
}

/* Why nobody works, if that is so. */
static void print_wait(const struct look *look, const struct status *s)
{
	const Wire__StatusReply *r = s->reply;

	if (look->running > 0 && r->pgs_clean < r->pgs_total)
		printf("nothing is encoded anew until all placement groups have all copies: %u of "
		       "%u have\n",
		       r->pgs_clean, r->pgs_total);
}

static json_t *server_json(const Wire__ServerStatus *server, const Wire__ReencodeStatus *r)
{
	json_t *one = status_reencode_json(r);

	json_object_set_new(one, "server", json_integer((json_int_t)server->server));
	json_object_set_new(one, "address", json_string(server->address));
	return one;
}

/* --- asking --- */

static void take(struct look *look, const Wire__ServerStatus *server,
		 const Wire__ReencodeStatus *r)
{
	look->running += r->running && !r->paused && !r->wrong;
	look->wrong += r->wrong;
	look->bytes_done += r->bytes_done;
	look->bytes_total += r->bytes_total;
	if (look->is_quiet)
		return;
	if (look->all)
		json_array_append_new(look->all, server_json(server, r));
	else
		print_server(server, r);
}

static void ask_server(struct look *look, const Wire__ServerStatus *server)
{
	Wire__Reencode ask = WIRE__REENCODE__INIT;
	ProtobufCMessage *reply;
	const Wire__ReencodeReply *r;

	ask.action = look->action;
	if (admin_call_at(look->admin, server->address, MSG_REENCODE, &ask.base, CALL_MS, &reply,
			  NULL, &look->why) < 0) {
		if (!look->is_quiet)
			(void)command_fail("reencode", &look->why);
		return;
	}
	r = (const Wire__ReencodeReply *)(const void *)reply;
	if (r->status)
		take(look, server, r->status);
	msg_free(reply);
}

static void ask_all(struct look *look, const struct status *s)
{
	for (size_t i = 0; i < s->reply->n_servers; i++)
		if (named_servers_has(&look->a->named, s->reply->servers[i]))
			ask_server(look, s->reply->servers[i]);
}

static void wait_for_end(struct admin *admin, const struct reencode_arguments *a,
			 const struct status *s)
{
	bool is_terminal = isatty(STDERR_FILENO);
	struct look look;

	do {
		char done[TEXT_BYTES_HUMAN], all[TEXT_BYTES_HUMAN];

		look = (struct look){.admin = admin, .a = a, .is_quiet = true};
		usleep(POLL_US);
		ask_all(&look, s);
		if (is_terminal)
			fprintf(stderr, "\r%s of %s \033[K",
				text_bytes_human(done, look.bytes_done),
				text_bytes_human(all, look.bytes_total));
	} while (look.running > 0);
	if (is_terminal)
		fputs("\r\033[K", stderr);
}

static int run(const struct reencode_arguments *a, struct admin *admin, const struct status *s,
	       struct error *err)
{
	struct look look = {.admin = admin, .a = a, .action = a->action, .is_quiet = true};
	int rc = named_servers_check(&a->named, s, err);

	if (rc < 0)
		return rc;
	if (a->wait) {
		ask_all(&look, s);
		wait_for_end(admin, a, s);
	}
	look = (struct look){.admin = admin,
			     .a = a,
			     .action = a->wait ? TELL : a->action,
			     .all = a->target.json ? json_array() : NULL};
	if (!a->target.json)
		print_head();
	ask_all(&look, s);
	if (a->target.json &&
	    status_print_json(json_pack("{s:o}", "servers", look.all)) != COMMAND_DONE)
		return COMMAND_FAILED;
	if (!a->target.json)
		print_wait(&look, s);
	return look.why.code < 0 || look.wrong > 0 ? COMMAND_FAILED : COMMAND_DONE;
}

int cmd_reencode(int argc, char **argv)
{
	struct reencode_arguments a = {0};
	struct error err = {0};
	struct admin *admin = NULL;
	struct status s = {0};
	char mds[256];

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	int rc = admin_find(a.target.mds, mds, sizeof mds, &err);
	if (rc == 0)
		rc = admin_open(mds, &admin, &err);
	if (rc == 0)
		rc = status_get(mds, &s, &err);
	if (rc == 0) {
		rc = run(&a, admin, &s, &err);
		status_finish(&s);
	}
	admin_close(admin);
	return rc < 0 ? command_fail("reencode", &err) : rc;
}
