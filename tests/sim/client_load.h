/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load of one client: a few lanes, each running one small script after another (make a name,
 * write a file and close it, read one, list a directory ...) through client_submit(), and telling
 * the oracle what it was answered. All clients work on the same few names.
 *
 * Two lanes of one client never use one file at once: what the kernel serializes on a mount is not
 * the client library's to serialize. Threads: one.
 */
#ifndef CAIRN_TESTS_SIM_CLIENT_LOAD_H
#define CAIRN_TESTS_SIM_CLIENT_LOAD_H

#include "tests/sim/cluster.h"
#include "tests/sim/oracle.h"

#define LOAD_LANES 3u

struct client_load;

struct load_lane {
	struct client_load *load;
	struct cl_op op;
	bool is_busy;			       /* the operation is under way */
	uint64_t busy_ns;		       /* since when */
	uint64_t begun;			       /* moment of the modes */
	void (*after)(struct load_lane *lane); /* when it is done; NULL: between two scripts */
	uint64_t wait_ns;		       /* until then the script pauses */
	struct oracle_call call;
	uint32_t script;
	char name[4], new_name[4];
	inode_no ino;
	uint16_t node; /* in use by this lane; 0: none */
	struct cl_handle *handle;
	uint32_t writes_left, lookups;
	bool is_locking, is_flock;	       /* the handle; by flock, or fcntl */
	uint8_t *bytes;
	uint64_t len; /* of a read */
	inode_no listed[ORACLE_NAMES];
};

struct client_load {
	struct cluster_node *client;
	struct oracle *oracle;
	const inode_no *directories; /* ORACLE_DIRECTORIES */
	bool is_paused;		     /* begin no script */
	bool is_gone;		     /* the process has died: answers are not listened to */
	struct load_lane lanes[LOAD_LANES];
};

void client_load_init(struct client_load *l, struct cluster_node *client, struct oracle *oracle,
		      const inode_no directories[ORACLE_DIRECTORIES]);
void client_load_finish(struct client_load *l);
/* Begin scripts, go on with those that paused. Call it every few virtual ms. */
void client_load_tick(struct client_load *l);
bool client_load_is_idle(const struct client_load *l);
/* The oldest operation under way, or NULL. */
const struct load_lane *client_load_oldest(const struct client_load *l);

/* Around the death of the process: before cluster_kill() or cluster_stop(), and after. */
void client_load_dies(struct client_load *l);
void client_load_died(struct client_load *l);

#endif
