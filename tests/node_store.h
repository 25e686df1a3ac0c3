/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dictionary of manifest nodes for tests: seal into it, fetch from it. RETRY runs a manifest call
 * until it no longer asks for a node, supplying each from the store.
 */
#ifndef CAIRN_TESTS_NODE_STORE_H
#define CAIRN_TESTS_NODE_STORE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "fs/tree/manifest.h"

struct stored_node {
	struct block_id id;
	uint32_t len;
	UT_hash_handle hh;
	uint8_t bytes[];
};

struct node_store {
	struct stored_node *nodes;
	uint32_t emit_count;
	uint32_t fetch_count;
	uint32_t fail_at;	/* the emit that fails; 0: none */
};

static inline struct stored_node *node_store_get(struct node_store *s, const struct block_id *id)
{
	struct stored_node *node;

	HASH_FIND(hh, s->nodes, id, sizeof *id, node);
	return node;
}

static inline int node_store_emit(void *arg, const struct block_id *id, const void *bytes,
				  uint32_t len)
{
	struct node_store *s = arg;

	if (++s->emit_count == s->fail_at)
		return -E_IO;
	if (node_store_get(s, id) != NULL)
		return 0;
	struct stored_node *node = malloc(sizeof *node + len);
	ck_assert_ptr_nonnull(node);
	node->id = *id;
	node->len = len;
	memcpy(node->bytes, bytes, len);
	HASH_ADD(hh, s->nodes, id, sizeof node->id, node);
	return 0;
}

static inline void node_store_supply(struct node_store *s, struct manifest *m)
{
	struct stored_node *node = node_store_get(s, manifest_needed(m));

	if (node == NULL)
		ck_abort_msg("a node was asked for that nobody emitted");
	if (manifest_supply(m, node->bytes, node->len) != 0)
		ck_abort_msg("a node was refused that was emitted");
	s->fetch_count++;
}

#define RETRY(store, m, call)                                                                      \
	__extension__({                                                                            \
		int retry_rc;                                                                      \
		while ((retry_rc = (call)) == -E_NEED_NODE)                                        \
			node_store_supply((store), (m));                                           \
		retry_rc;                                                                          \
	})

static inline void node_store_finish(struct node_store *s)
{
	struct stored_node *node, *next;

	HASH_ITER(hh, s->nodes, node, next) {
		HASH_DEL(s->nodes, node);
		free(node);
	}
}

#endif
