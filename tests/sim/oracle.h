/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oracle: a simple model of the file system that knows what was acknowledged, what is under
 * way, and what is durable, and judges every answer that a client gives.
 *
 * Names: DIRECTORIES x NAMES slots, each empty or naming a node (an inode as the model knows it, by
 * its own number). They are one thing (possible.h), so a rename is seen as a whole, by everybody,
 * at once. Content: a file is cells of equal size, each written as a whole with bytes that tell
 * which write they come from. Each file is a thing of its own. A cell that is neither zeros nor
 * exactly one write is torn.
 *
 * Losses that are allowed:
 *  - a change whose call did not return, or returned a doubt (EIO, a deadline) while its client was
 *    disturbed, may have happened or not;
 *  - writes that were not flushed go with their client (crash, lost session);
 *  - a power cut of the metadata server takes what is not durable: an ordered suffix.
 * A client that is not disturbed gets no error at all but those that the names explain.
 *
 * A violation prints the story's end and how to replay it, and ends the program.
 */
#ifndef CAIRN_TESTS_SIM_ORACLE_H
#define CAIRN_TESTS_SIM_ORACLE_H

#include "fs/base/base.h"
#include "tests/sim/cluster.h"
#include "tests/sim/modes.h"
#include "tests/sim/possible.h"

#define SIM_BEGIN_NS	   (3600 * SIM_S) /* where a world's clock starts */
#define ORACLE_DIRECTORIES 3u
#define ORACLE_NAMES	   5u
#define ORACLE_SLOTS	   (ORACLE_DIRECTORIES * ORACLE_NAMES)
#define ORACLE_CELLS	   6u /* that writers aim at; appends may go beyond */
#define ORACLE_CELLS_MAX   (POSSIBLE_VALUES - 1u)
#define ORACLE_NODES	   4000u

enum oracle_kind {
	ORACLE_MAKE = 1,
	ORACLE_MKDIR,
	ORACLE_UNLINK,
	ORACLE_RMDIR,
	ORACLE_RENAME,
	ORACLE_LINK,
	ORACLE_LOOKUP,
	ORACLE_LIST, /* of names */
	ORACLE_WRITE,
	ORACLE_APPEND,
	ORACLE_TRUNCATE, /* of content */
	ORACLE_READ,
	ORACLE_SIZE,
	ORACLE_OPEN,
	ORACLE_FLUSH,
	ORACLE_FSYNC,
	ORACLE_SYNC, /* of everything */
};

/* One call of one client. Fill the arguments and begin it; it lives until it is ended. */
struct oracle_call {
	enum oracle_kind kind;
	uint32_t client;
	uint32_t slot, new_slot; /* names; LIST: slot is that of the directory's first name */
	uint32_t flags;		 /* RENAME */
	uint16_t node;		 /* LINK, and content; MAKE, MKDIR: set by begin */
	uint32_t cell;		 /* WRITE: index; TRUNCATE: count */
	uint16_t tag;		 /* WRITE, APPEND: set by begin */
	/* results that end() judges */
	int rc;
	inode_no ino;			  /* MAKE, MKDIR, LOOKUP */
	bool is_directory;		  /* LOOKUP */
	const inode_no *listed;		  /* LIST: of each name, 0: absent */
	uint16_t values[POSSIBLE_VALUES]; /* READ: as oracle_content_decode; SIZE: [0] alone */
	/* private */
	uint64_t begun_ns;
	uint32_t born, names_born, op;
	bool is_begun;
};

struct oracle_node {
	inode_no ino; /* 0: not known yet */
	bool is_directory;
	uint32_t cell_bytes;
	struct possible content;
	struct {
		bool is_dirty;	       /* has written since its last flush */
		uint32_t since;	       /* moment before the first such write */
		uint64_t flushed_ns;   /* when it flushed last: the journal has it, perhaps not
					  durably, */
		uint32_t flushed_from; /* and a power cut goes back to before this moment */
	} writers[CLUSTER_CLIENTS];
	bool is_acked[POSSIBLE_OPS]; /* returned well, and is not flushed yet */
};

struct oracle_client {
	bool is_suspect;       /* may have lost its session: what it did not flush may be lost */
	uint64_t crashed_ns;   /* whoever began before that asks no more */
	uint64_t disturbed_ns; /* it may see errors for calls that were begun before this */
};

struct oracle {
	struct sim_world *world;
	struct possible names;
	struct oracle_node *nodes[ORACLE_NODES]; /* by number; 0 is nobody */
	uint32_t node_count;			 /* the highest number in use */
	uint16_t last_tag;
	uint64_t durable_ns; /* what was acknowledged before is durable */
	uint64_t cut_ns;     /* of the last power cut that lost something; 0: none */
	struct oracle_client clients[CLUSTER_CLIENTS];
	uint64_t calls, doubts, blurs;
	struct modes modes;
};

void oracle_init(struct oracle *o, struct sim_world *world);
void oracle_finish(struct oracle *o);

/* No room for new calls until the next settlement. */
bool oracle_is_full(const struct oracle *o);
void oracle_begin(struct oracle *o, struct oracle_call *call);
void oracle_end(struct oracle *o, struct oracle_call *call);
/* Its client is gone: it may happen or not. */
void oracle_abandon(struct oracle *o, struct oracle_call *call);

/* The node of an inode, 0: not known. */
uint16_t oracle_node_find(const struct oracle *o, inode_no ino);
/* Bytes of `cell` written by `tag`. */
void oracle_content_fill(uint8_t *out, uint32_t cell_bytes, uint16_t tag);
/* What was read: the count of cells, then their tags. */
void oracle_content_decode(struct oracle *o, uint16_t node, const uint8_t *bytes, uint64_t len,
			   uint16_t values[POSSIBLE_VALUES]);

/* What happened to the cluster. */
void oracle_disturbed(struct oracle *o, uint32_t client, uint64_t until_ns);
void oracle_suspect(struct oracle *o, uint32_t client); /* it may have lost its session */
void oracle_crashed(struct oracle *o,
		    uint32_t client); /* its memory is gone; calls were abandoned */
void oracle_power_cut(struct oracle *o, uint64_t journal_lag_ns); /* of the metadata server */
/*
 * All is quiet and well. Names as read (node numbers), then the content of each node with a name;
 * the others are gone.
 */
void oracle_settle_names(struct oracle *o, const inode_no inos[ORACLE_SLOTS],
			 const bool is_directory[ORACLE_SLOTS]);
void oracle_settle_content(struct oracle *o, uint16_t node, const uint16_t values[POSSIBLE_VALUES]);
void oracle_settled(struct oracle *o);

/* The run is over: say why, and end the program. */
void oracle_fail(struct oracle *o, const char *format, ...) printf_like(2, 3)
	__attribute__((noreturn));

#endif
