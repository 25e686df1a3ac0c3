/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder of a cluster that lives on one host (`cairn dev`, `cairn up`): what is in it, which
 * ports its processes have, and with which settings they run. Kept in DIR/cluster.json, so that a
 * later start finds everything again; DIR/cairn.conf is the configuration that all its processes
 * and commands read.
 *
 * In DIR: mds/, cs1/ ..., cache1/ ..., mnt1/ ... (dev), *.pid, *.log.
 */
#ifndef CAIRN_TOOLS_LAYOUT_H
#define CAIRN_TOOLS_LAYOUT_H

#include <limits.h>

#include "fs/hash/block_id.h"

#define LAYOUT_SERVERS_MAX 64u
#define LAYOUT_ADDRESS_ALONE "127.0.0.1" /* no other host can join */
#define LAYOUT_MOUNTS_MAX  16u
#define LAYOUT_SETS_MAX	   64u

#define LAYOUT_UP_DIR	   "/var/lib/cairn"	/* of `cairn up`, unless told otherwise */

struct layout {
	char dir[PATH_MAX];
	/* that servers listen on: a name or number, no port */
	char address[64];
	uint32_t server_count, mount_count, copies;
	bool with_acl;
	enum hash_kind hash;
	uint16_t mds_port;
	uint16_t cs_ports[LAYOUT_SERVERS_MAX];
	char cs_dirs[LAYOUT_SERVERS_MAX][PATH_MAX];	/* absolute */
	char mount_dirs[LAYOUT_MOUNTS_MAX][PATH_MAX];
	char *sets[LAYOUT_SETS_MAX];			/* "SECTION.KEY=VALUE", owned */
	uint32_t set_count;
};

void layout_finish(struct layout *l);
struct layout_options {
	const char *dir;		/* absolute */
	const char *address;		/* NULL: 127.0.0.1, this host only */
	/* of the metadata server, then the chunk servers'; 0: any that are free */
	uint16_t port;
	uint32_t servers, copies, mounts;
	bool with_acl;
	enum hash_kind hash; /* 0: SHA-256 */
};
/* A new one: chooses ports; nothing is written. */
must_check int layout_plan(struct layout *l, const struct layout_options *options,
			   struct error *err);
/* Place of a further server: its port and its folder DIR/csN. */
must_check int layout_add_server(struct layout *l, struct error *err);
must_check int layout_add_set(struct layout *l, const char *set, struct error *err);
/* -E_NOENT: there is none in dir. */
must_check int layout_load(struct layout *l, const char *dir, struct error *err);
/* cluster.json and cairn.conf */
must_check int layout_save(const struct layout *l, struct error *err);

/* DIR/NAMESUFFIX, e.g. (l, "mds", ".pid"). Returns out. */
char *layout_path(const struct layout *l, char out[PATH_MAX], const char *name, const char *suffix);

/* DIR/NAMENUMBER, e.g. (l, "mnt", 2). Returns out. */
char *layout_numbered(const struct layout *l, char out[PATH_MAX], const char *name,
		      uint32_t number);

/* "mds", "cs3", "client1": which process is it? index counts from 0. -E_INVAL: none of them. */
enum layout_role { LAYOUT_MDS = 1, LAYOUT_CS, LAYOUT_CLIENT };
must_check int layout_parse_name(const char *name, enum layout_role *role, uint32_t *index);

#endif
