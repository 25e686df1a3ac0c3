/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn scrub: how far each chunk server is with re-reading what it stores; begin a pass, pause it.
 */
#include "tools/command.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/admin.h"
#include "tools/named_servers.h"
#include "tools/status.h"

#define SCRUB_MS   5000u
#define POLL_US	   200000u
#define NS_PER_S   1000000000ull
enum scrub_action { SCRUB_TELL, SCRUB_START, SCRUB_STOP };

struct scrub_arguments {
	struct command_target target;
	bool deep, wait;
	enum scrub_action action;
	struct named_servers named;
};

/* What one pass over the servers found out. */
struct scrub_round {
	struct admin *admin;
	const struct scrub_arguments *a;
	enum scrub_action action;
	json_t *all; /* NULL: for people */
	bool is_quiet;
	uint32_t running;
	uint64_t bytes_done, bytes_total, bytes_per_s;
	struct error why; /* of a server that does not answer */
};

static const struct argp_option options[] = {
	{"status", 's', NULL, 0, "tell how far the servers are (the default)", 0},
	{"now", 'n', NULL, 0, "begin a pass now, as fast as cs.scrub_bytes_per_s allows", 0},
	{"deep", 'd', NULL, 0, "with --now: decode every block and prove its id, too", 0},
	{"wait", 'w', NULL, 0, "stay until no pass is running, with progress on a terminal", 0},
	{"stop", 'S', NULL, 0, "pause, until --now or a restart of the server", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct scrub_arguments *a = state->input;

	switch (key) {
	case 's':
		a->action = SCRUB_TELL;
		break;
	case 'n':
		a->action = SCRUB_START;
		break;
	case 'S':
		a->action = SCRUB_STOP;
		break;
	case 'd':
		a->deep = true;
		break;
	case 'w':
		a->wait = true;
		break;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->target;
		break;
	case ARGP_KEY_ARG:
		if (!named_servers_add(&a->named, text))
			argp_error(state, "too many servers");
		break;
	case ARGP_KEY_END:
		if (a->deep && a->action != SCRUB_START)
			argp_error(state, "--deep goes with --now");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {options,
				 parse_option,
				 "[SERVER...]",
				 "Chunk servers read all they store within cs.scrub_period and "
				 "check it; what is wrong is fetched from "
				 "another replica. Show how far they are, begin a pass, or pause. "
				 "SERVER: a number or an address; none: all.",
				 command_target_options,
				 NULL,
				 NULL};

/* --- showing --- */

static const char *state_text(const Wire__ScrubReply *r)
{
	if (r->paused)
		return "paused";
	if (!r->running)
		return "waiting";
	return r->deep ? "deep pass" : "pass";
}

static uint64_t eta_s(uint64_t done, uint64_t all, uint64_t per_s)
{
	return all > done && per_s > 0 ? (all - done) / per_s : 0;
}

static void print_head(void)
{
	printf("%-6s %-10s %6s %8s %12s %12s %10s %8s  %s\n", "SERVER", "SCRUB", "PASS", "DONE",
	       "RECORDS", "SPEED", "WRONG", "BEFORE", "LAST WHOLE PASS");
}

static void print_server(const Wire__ServerStatus *server, const Wire__ScrubReply *r)
{
	char speed[TEXT_BYTES_HUMAN], done[16], ended[STATUS_WHEN_BYTES];

	snprintf(done, sizeof done, "%.1f %%",
		 r->bytes_total ? 100.0 * (double)r->bytes_done / (double)r->bytes_total : 100.0);
	text_bytes_human(speed, r->running ? r->bytes_per_s : 0);
	printf("%-6u %-10s %6llu %8s %12llu %10s/s %10llu %8llu  %s\n", server->server,
	       state_text(r), (unsigned long long)r->pass, done, (unsigned long long)r->records,
	       speed, (unsigned long long)r->wrong, (unsigned long long)r->wrong_last,
	       status_when(ended, r->finished_wall_ns));
}

static json_t *server_json(const Wire__ServerStatus *server, const Wire__ScrubReply *r)
{
	return json_pack(
		"{s:I, s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"server", (json_int_t)server->server, "address", server->address, "running",
		r->running, "deep", r->deep, "paused", r->paused, "pass", (json_int_t)r->pass,
		"bytes_done", (json_int_t)r->bytes_done, "bytes_total", (json_int_t)r->bytes_total,
		"records", (json_int_t)r->records, "wrong", (json_int_t)r->wrong, "wrong_last",
		(json_int_t)r->wrong_last, "bytes_per_s", (json_int_t)r->bytes_per_s, "eta_s",
		(json_int_t)eta_s(r->bytes_done, r->bytes_total, r->bytes_per_s), "started",
		(json_int_t)(r->started_wall_ns / NS_PER_S), "finished",
		(json_int_t)(r->finished_wall_ns / NS_PER_S));
}

/* --- asking --- */

static void ask_server(struct scrub_round *round, const Wire__ServerStatus *server)
{
	Wire__Scrub ask = WIRE__SCRUB__INIT;
	ProtobufCMessage *reply;
	const Wire__ScrubReply *r;

	ask.action = round->action;
	ask.deep = round->a->deep;
	if (admin_call_at(round->admin, server->address, MSG_SCRUB, &ask.base, SCRUB_MS, &reply,
			  NULL, &round->why) < 0) {
		if (!round->is_quiet)
			(void)command_fail("scrub", &round->why);
		return;
	}
	r = (const Wire__ScrubReply *)(const void *)reply;
	round->running += r->running && !r->paused;
	round->bytes_done += r->bytes_done;
	round->bytes_total += r->bytes_total;
	round->bytes_per_s += r->bytes_per_s;
	if (!round->is_quiet && round->all)
		json_array_append_new(round->all, server_json(server, r));
	else if (!round->is_quiet)
		print_server(server, r);
	msg_free(reply);
}

static void ask_all(struct scrub_round *round, const struct status *s)
{
	for (size_t i = 0; i < s->reply->n_servers; i++) {
		const Wire__ServerStatus *server = s->reply->servers[i];

		if (named_servers_has(&round->a->named, server))
			ask_server(round, server);
	}
}

static void wait_for_end(struct admin *admin, const struct scrub_arguments *a,
			 const struct status *s)
{
	bool is_terminal = isatty(STDERR_FILENO);
	struct scrub_round round;

	do {
		char done[TEXT_BYTES_HUMAN], all[TEXT_BYTES_HUMAN];

		round = (struct scrub_round){.admin = admin, .a = a, .is_quiet = true};
		usleep(POLL_US);
		ask_all(&round, s);
		if (is_terminal)
			fprintf(stderr, "\r%s of %s, %llu s left \033[K",
				text_bytes_human(done, round.bytes_done),
				text_bytes_human(all, round.bytes_total),
				(unsigned long long)eta_s(round.bytes_done, round.bytes_total,
							  round.bytes_per_s));
	} while (round.running > 0);
	if (is_terminal)
		fputs("\r\033[K", stderr);
}

static int run(const struct scrub_arguments *a, struct admin *admin, const struct status *s,
	       struct error *err)
{
	struct scrub_round round = {
		.admin = admin, .a = a, .action = a->action, .is_quiet = a->wait};
	int rc = named_servers_check(&a->named, s, err);

	if (rc < 0)
		return rc;
	if (a->wait) {
		ask_all(&round, s);
		wait_for_end(admin, a, s);
	}
	round = (struct scrub_round){.admin = admin,
				     .a = a,
				     .action = a->wait ? SCRUB_TELL : a->action,
				     .all = a->target.json ? json_array() : NULL};
	if (!a->target.json)
		print_head();
	ask_all(&round, s);
	if (a->target.json &&
	    status_print_json(json_pack("{s:o}", "servers", round.all)) != COMMAND_DONE)
		rc = -E_IO;
	*err = round.why;
	return rc == 0 ? round.why.code : rc;
}

int cmd_scrub(int argc, char **argv)
{
	struct scrub_arguments a = {0};
	struct error err = {0};
	struct admin *admin = NULL;
	struct status s = {0};
	char mds[256];
	int rc;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	rc = admin_find(a.target.mds, mds, sizeof mds, &err);
	if (rc == 0)
		rc = admin_open(mds, &admin, &err);
	if (rc == 0)
		rc = status_get(mds, &s, &err);
	if (rc == 0) {
		rc = run(&a, admin, &s, &err);
		status_finish(&s);
		if (rc < 0 && rc != -E_NOENT) { /* told already, server by server */
			admin_close(admin);
			return COMMAND_FAILED;
		}
	}
	admin_close(admin);
	return rc < 0 ? command_fail("scrub", &err) : COMMAND_DONE;
}
