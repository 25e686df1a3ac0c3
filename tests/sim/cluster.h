/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole cluster in one simulated world: a metadata server, three to five chunk servers of one or
 * two disks (the metadata server, too), a few clients, and a steward (steward.h), each a process
 * of its own on a host of its own, running the code that the programs run.
 *
 * A process is up or down. Up by cluster_start() and the like; down by a kill (the disk keeps what
 * was written), by a power cut (it keeps what was synced, and some of the rest) or by a clean stop.
 * The view of the metadata server (its rows) outlives a kill or not, by the seed: both must be
 * right (I15).
 *
 * Hosts are "mds", "cs1".. and "client1".. Threads: one.
 */
#ifndef CAIRN_TESTS_SIM_CLUSTER_H
#define CAIRN_TESTS_SIM_CLUSTER_H

#include "client/core/client.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"

#define CLUSTER_SERVERS	   5u /* at most; at least CLUSTER_COPIES */
#define CLUSTER_DISKS	   2u /* of a server, at most */
#define CLUSTER_CLIENTS	   3u
#define CLUSTER_NODES	   (1u + CLUSTER_SERVERS + CLUSTER_CLIENTS)
#define CLUSTER_LEASE_MS   4000u
#define CLUSTER_TIMEOUT_MS 30000u /* of a client's operation */
#define CLUSTER_COPIES	   3u
#define CLUSTER_MIN_COPIES 2u
#define CLUSTER_SCRUB_MS   3000u /* all that is stored is read in this time, again and again */
#define CLUSTER_COLD_MS	 4000u /* blocks that nobody reads for so long move to slower disks */
#define CLUSTER_GC_MS	   2500u /* garbage is collected so often, */
#define CLUSTER_GRACE_MS   1500u /* and kept in trash so long */

enum cluster_role { CLUSTER_MDS, CLUSTER_CS, CLUSTER_CLIENT };

/* A host and the process on it. */
struct cluster_node {
	struct cluster *cluster;
	enum cluster_role role;
	uint32_t index; /* among those of its role */
	char host[16];
	struct sim_media *media[CLUSTER_DISKS]; /* of a client: of its tier, if it has one */
	uint32_t disk_count;
	bool is_absent;	 /* not bought yet, or removed for good: never started */
	bool was_closed; /* the last process ended in order: a chunk server may believe its tails */
	bool is_up;
	uint64_t up_ns;		/* since when */
	uint64_t ended_ns;	/* when the process before this one ended; 0: there was none */
	int64_t wall_offset_ns; /* how wrong the clock of the host is */
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct disk *disks[CLUSTER_DISKS];
	struct rows *rows[CLUSTER_DISKS]; /* the metadata server's, [0]; a chunk server's indexes */
	struct rows *owed;
	server_no number; /* of a chunk server, once it has joined */
	struct ms_server *ms;
	struct cs_server *cs;
	struct tiers *tiers; /* of a client */
	uint64_t boots;	     /* of its host */
	struct client *client;
	int client_rc; /* of its start: 1 while under way */
};

struct cluster {
	struct sim_world *world;
	struct sim_switch *sw;
	struct cluster_node nodes[CLUSTER_NODES]; /* the metadata server, chunk servers, clients */
	uint32_t server_count, node_count;
	uint64_t out_ms;	 /* silence after which a server loses its share */
	uint64_t starts;	 /* of processes */
	uint8_t disk_uuid_last;	 /* of the disks made so far */
	struct steward *steward; /* steward.h */
};

/* Make the disks, format them, start the servers; clients stay down. */
void cluster_create(struct cluster *c, uint64_t seed);
void cluster_destroy(struct cluster *c); /* kills what is up; checks that no memory was leaked */

struct cluster_node *cluster_mds(struct cluster *c);
struct cluster_node *cluster_cs(struct cluster *c, uint32_t index);
struct cluster_node *cluster_client(struct cluster *c, uint32_t index);

/* A server that cannot start on its disk is the end of the run: NULL, or the sentence. */
must_check const char *cluster_start(struct cluster_node *n);
void cluster_kill(struct cluster_node *n, bool is_power_cut); /* down already is allowed */
/* Let it end in peace. False: it did not within `ns_max`, and was killed. */
bool cluster_stop(struct cluster_node *n, uint64_t ns_max);

/* The clock of the host jumps to so far from the truth; processes started later see it, too. */
void cluster_set_wall(struct cluster_node *n, int64_t offset_ns);
/* Its disk is gone, and an empty one is in its place. The process must be down. */
void cluster_replace_disk(struct cluster_node *n, uint32_t disk);
/* Nothing a power cut now would take. */
bool cluster_is_synced(const struct cluster_node *n);

/* All up, all chunk servers have joined, all clients have a session. */
bool cluster_is_well(void *cluster);
/* Why this one keeps the cluster from being well, or NULL. */
const char *cluster_why_unwell(struct cluster_node *n);
/* The metadata server cannot keep changes any more: its disk failed. */
bool cluster_mds_is_failed(struct cluster *c);
/* It has given up a directory of its journal, until it is started again. */
bool cluster_mds_lacks_disk(struct cluster *c);
/* Two clients that trust conflicting leases or locks of one inode (I5, I6), or NULL; a sentence. */
const char *cluster_conflict(struct cluster *c);
/*
 * With the metadata server down: bring up a fresh view from its disk twice, and compare; and with
 * the kept view brought up to the journal's end (I3, I15). NULL, or what differs.
 */
must_check const char *cluster_replay_differs(struct cluster *c);
/*
 * With all servers down: is what each chunk server keeps of the metadata a prefix of the metadata
 * server's history? At least one keeps something. NULL, or what differs.
 */
must_check const char *cluster_copies_differ(struct cluster *c);

#endif
