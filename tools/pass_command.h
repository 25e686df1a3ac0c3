/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cairn scrub` and `cairn reencode`: passes of chunk servers over what they store. One shape:
 * begin one, pause, or look how far they are; --wait stays until none runs. What differs, the
 * message and what is shown of its answer, is a struct pass_command.
 */
#ifndef CAIRN_TOOLS_PASS_COMMAND_H
#define CAIRN_TOOLS_PASS_COMMAND_H

#include <argp.h>
#include <jansson.h>

#include "tools/admin.h"
#include "tools/status.h"

/* As the messages say it. */
enum pass_action { PASS_TELL, PASS_BEGIN, PASS_PAUSE };

struct pass_question {
	struct admin *admin;
	const char *address; /* of the server */
	enum pass_action action;
	bool deep;
};

/* What all answers say. */
struct pass_progress {
	bool is_running, is_wrong;
	uint64_t bytes_done, bytes_total;
	uint64_t bytes_per_s; /* 0: tells nothing of how long it takes */
};

struct pass_command {
	const char *name;
	const struct argp *argp; /* its parser is pass_command_option() */
	/* 0 and the answer, which is the caller's to msg_free(). */
	int (*ask)(const struct pass_question *q, ProtobufCMessage **reply, struct error *err);
	void (*progress)(const ProtobufCMessage *reply, struct pass_progress *out);
	void (*print_head)(void);
	void (*print)(const Wire__ServerStatus *server, const ProtobufCMessage *reply);
	json_t *(*json)(const Wire__ServerStatus *server, const ProtobufCMessage *reply);
	/* What else people should know; NULL: nothing. */
	void (*print_foot)(const struct status *s, bool is_running);
};

/* The options that every argp of them offers, and -d, --deep. */
#define PASS_COMMAND_OPTIONS(now)                                                                  \
	{"status", 's', NULL, 0, "tell how far the servers are (the default)", 0},                 \
	{"now", 'n', NULL, 0, now, 0},                                                             \
	{"wait", 'w', NULL, 0, "stay until no pass is running, with progress on a terminal", 0},   \
	{"stop", 'S', NULL, 0, "pause, until --now or a restart of the server", 0}
error_t pass_command_option(int key, char *text, struct argp_state *state);

int pass_command_run(const struct pass_command *c, int argc, char **argv);

/* "12.3 %" of a pass. */
#define PASS_DONE_BYTES 16u
const char *pass_command_done(char out[PASS_DONE_BYTES], uint64_t part, uint64_t whole);
/* Seconds until its end at that speed; 0: nobody can say. */
uint64_t pass_command_eta_s(uint64_t done, uint64_t total, uint64_t bytes_per_s);

#endif
