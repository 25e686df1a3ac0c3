/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn heal: what is being healed, how fast, and what is waited for.
 * Exit status: 0 nothing is to be healed, 1 something is.
 */
#include "tools/command.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "fs/placement/map.h"
#include "tools/progress_bar.h"
#include "tools/status.h"

#define POLL_US 300000u

struct heal_arguments {
	struct command_target target;
	uint64_t wait_s;
};

static const struct argp_option options[] = {
	{"wait", 'w', "SECONDS", 0,
	 "stay until nothing is to be healed, at most so long, with progress on a terminal", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct heal_arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->target;
		break;
	case 'w':
		if (text_parse_u64(text, &a->wait_s) < 0)
			argp_error(state, "bad number of seconds '%s'", text);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", text);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static bool is_done(const struct status *s)
{
	return s->reply->pgs_healing == 0 && s->reply->heal_pending_blocks == 0 &&
	       s->reply->owed == 0;
}

static json_t *server_json(const Wire__ServerStatus *s)
{
	return json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:I}", "server", (json_int_t)s->server,
			 "state", server_state_name((enum server_state)s->state), "pending_blocks",
			 (json_int_t)s->heal_pending_blocks, "bytes_per_s",
			 (json_int_t)s->heal_bytes_per_s, "owed", (json_int_t)s->owed, "pgs_former",
			 (json_int_t)s->pgs_former, "pgs_waiting", (json_int_t)s->pgs_waiting);
}

static json_t *heal_json(const struct status *s)
{
	const Wire__StatusReply *r = s->reply;
	json_t *servers = json_array();

	for (size_t i = 0; i < r->n_servers; i++)
		json_array_append_new(servers, server_json(r->servers[i]));
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "done", is_done(s),
			 "pgs_healing", (json_int_t)r->pgs_healing, "pgs_waiting",
			 (json_int_t)r->pgs_waiting, "pending_blocks",
			 (json_int_t)r->heal_pending_blocks, "bytes_per_s",
			 (json_int_t)r->heal_bytes_per_s, "eta_s", (json_int_t)r->heal_eta_s,
			 "owed", (json_int_t)r->owed, "servers", servers);
}

static void print_server(const Wire__ServerStatus *s)
{
	char rate[TEXT_BYTES_HUMAN];

	if (s->heal_pending_blocks)
		printf("  server %u lacks %llu blocks, gets %s/s\n", s->server,
		       (unsigned long long)s->heal_pending_blocks,
		       text_bytes_human(rate, s->heal_bytes_per_s));
	if (s->owed)
		printf("  server %u has noted %llu blocks that a server missed or lost, and "
		       "brings them there\n",
		       s->server, (unsigned long long)s->owed);
	if (s->pgs_waiting)
		printf("  server %u is waited for, for %u groups: it is %s, silent for %llu s\n",
		       s->server, s->pgs_waiting, server_state_name((enum server_state)s->state),
		       (unsigned long long)s->heartbeat_age_ms / 1000);
	else if (s->pgs_former && s->state >= SERVER_OUT && s->state != SERVER_REMOVED)
		printf("  server %u is %s: %u groups name it as a former holder until it is "
		       "merged\n",
		       s->server, server_state_name((enum server_state)s->state), s->pgs_former);
}

static void print_people(const struct status *s)
{
	const Wire__StatusReply *r = s->reply;

	if (is_done(s) && r->pgs_clean == r->pgs_total)
		printf("nothing is to be healed: all %u placement groups have all copies\n",
		       r->pgs_total);
	else if (is_done(s))
		printf("nothing is to be healed by those that are there: %u of %u placement groups "
		       "lack a copy until a "
		       "server is back, or another one joins\n",
		       r->pgs_total - r->pgs_clean, r->pgs_total);
	else if (r->pgs_healing)
		printf("%u of %u placement groups are being healed: %s\n", r->pgs_healing,
		       r->pgs_total, s->heal_text);
	else
		printf("%u of %u placement groups have all copies: %s\n", r->pgs_clean,
		       r->pgs_total, s->heal_text);
	for (size_t i = 0; i < r->n_servers; i++)
		print_server(r->servers[i]);
}

static void print_progress(const struct status *s)
{
	const Wire__StatusReply *r = s->reply;
	char rate[TEXT_BYTES_HUMAN];

	fprintf(stderr, "\r%u of %u groups whole, %llu blocks to go, %s/s, %llu s left\033[K",
		r->pgs_clean, r->pgs_total,
		(unsigned long long)(r->heal_pending_blocks + r->owed),
		text_bytes_human(rate, r->heal_bytes_per_s), (unsigned long long)r->heal_eta_s);
}

/* Ask until nothing is to be healed, or the time is over; the last answer is in `s`. */
static int ask(const struct heal_arguments *a, struct status *s, struct error *err)
{
	uint64_t begun_ms = progress_bar_now_ms();
	bool is_terminal = isatty(STDERR_FILENO) && a->wait_s > 0;
	int rc = status_get(a->target.mds, s, err);

	while (rc == 0 && !is_done(s) && (progress_bar_now_ms() - begun_ms) / 1000 < a->wait_s) {
		if (is_terminal)
			print_progress(s);
		status_finish(s);
		(void)usleep(POLL_US);
		rc = status_get(a->target.mds, s, err);
	}
	if (is_terminal)
		fputs("\r\033[K", stderr);
	return rc;
}

int cmd_heal(int argc, char **argv)
{
	static const struct argp argp = {options,
					 parse_option,
					 "",
					 "Show what is being healed, how fast, and what is waited "
					 "for. Exit status 1: something is to be "
					 "healed.",
					 command_target_options,
					 NULL,
					 NULL};
	struct heal_arguments a = {0};
	struct status s;
	struct error err = {0};
	int status = COMMAND_DONE;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	if (ask(&a, &s, &err) < 0)
		return command_fail("heal", &err);
	if (a.target.json)
		status = status_print_json(heal_json(&s));
	else
		print_people(&s);
	if (status == COMMAND_DONE && !is_done(&s))
		status = COMMAND_FAILED;
	status_finish(&s);
	return status;
}
