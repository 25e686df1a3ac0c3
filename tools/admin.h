/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to servers from a command: connect, ask, wait for the answer. Synchronous, one loop of its
 * own; every call has a deadline. Threads: one.
 */
#ifndef CAIRN_TOOLS_ADMIN_H
#define CAIRN_TOOLS_ADMIN_H

#include "fs/net/rpc.h"

struct admin;
struct map;	/* fs/placement/map.h */

/* `address` is the metadata server's; the first call connects. */
must_check int admin_open(const char *address, struct admin **out, struct error *err);
void admin_close(struct admin *a);	/* NULL is allowed */

/* Ask the metadata server; *reply is the caller's to msg_free(). */
must_check int admin_call(struct admin *a, unsigned type, const ProtobufCMessage *request,
			  uint32_t deadline_ms, ProtobufCMessage **reply, struct error *err);
/* A question to any server. */
struct admin_question {
	const char *address;
	unsigned type; /* MSG_* */
	const ProtobufCMessage *request;
	uint32_t deadline_ms;
	struct buf **bulk; /* gets a reference to the reply's bulk bytes; NULL: they are dropped */
};
must_check int admin_ask(struct admin *a, const struct admin_question *q, ProtobufCMessage **reply,
			 struct error *err);
/* The whole replica map, into an empty one. */
must_check int admin_map(struct admin *a, struct map *map, struct error *err);
/* Calls carry this session from now on; 0: none. */
void admin_set_session(struct admin *a, session_no session);
/* What the metadata server's hello said; NULL before the first call. */
const Wire__HelloReply *admin_hello(const struct admin *a);
/* of any server */
const Wire__HelloReply *admin_hello_at(const struct admin *a, const char *address);

/*
 * The metadata server's address: `given`, else CAIRN_DIR's, else CONFIG_FILE's, else that of `cairn
 * up`.
 */
must_check int admin_find(const char *given, char *out, size_t out_bytes, struct error *err);

#endif
