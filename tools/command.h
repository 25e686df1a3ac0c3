/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subcommands of cairn: rows of one table (command.c), each with its own argp. Libraries return,
 * commands report: "cairn NAME: cannot ...: why" on stderr, results on stdout.
 */
#ifndef CAIRN_TOOLS_COMMAND_H
#define CAIRN_TOOLS_COMMAND_H

#include <argp.h>

#include "fs/base/base.h"

/* Exit status, as cairn(1) says. */
enum command_status {
	COMMAND_DONE = 0, COMMAND_FAILED = 1, COMMAND_USAGE = 2, COMMAND_UNREACHABLE = 3
};

struct command {
	const char *name;
	int (*run)(int argc, char **argv);	/* argv[0] is "cairn NAME" */
	const char *help;
};

int command_run(int argc, char **argv);

/* argp_parse with our exit status for usage errors; 0, or an errno value. */
int command_parse(const struct argp *argp, int argc, char **argv, void *input);
/*
 * One path more of those that a command is given, before or behind its options; the list is kept
 * at the begin of argv, whose words have been read.
 */
void command_add_path(const struct argp_state *state, char *path, char ***paths, int *count);
/* Of options that say what to do only one may be given: `key` is one; *chosen, the last, or 0. */
void command_choose(const struct argp_state *state, int *chosen, int key);
/*
 * --json and --mds, of every command that shows what servers say: a command names the options as
 * its argp's children, and at ARGP_KEY_INIT gives state->child_inputs[0] the address of its target
 * (one without a parser of its own: is parsed into a target).
 */
struct command_target {
	bool json;
	const char *mds; /* HOST:PORT; NULL: found as admin_find() says */
};
extern const struct argp_child command_target_options[];
/*
 * Print "cairn NAME: sentence" and return COMMAND_FAILED, or COMMAND_UNREACHABLE for a lost
 * cluster.
 */
int command_fail(const char *name, const struct error *err);

/* One function per subcommand, each in cmd_NAME.c. */
int cmd_dev(int argc, char **argv);
int cmd_up(int argc, char **argv);
int cmd_down(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_df(int argc, char **argv);
int cmd_servers(int argc, char **argv);
int cmd_heal(int argc, char **argv);
int cmd_locks(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_remove(int argc, char **argv);
int cmd_scrub(int argc, char **argv);
int cmd_reencode(int argc, char **argv);
int cmd_gc(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_warm(int argc, char **argv);
int cmd_seal(int argc, char **argv);
int cmd_pin(int argc, char **argv);
int cmd_unpin(int argc, char **argv);
int cmd_evict(int argc, char **argv);
int cmd_cache(int argc, char **argv);
int cmd_swap(int argc, char **argv);
int cmd_trash(int argc, char **argv);
int cmd_clone(int argc, char **argv);
int cmd_quota(int argc, char **argv);
int cmd_analyze(int argc, char **argv);
int cmd_dump(int argc, char **argv);

#endif
