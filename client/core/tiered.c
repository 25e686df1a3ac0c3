/* SPDX-License-Identifier: Apache-2.0 */
/* Which content of the tiers is that of an inode now. See tiered.h. */
#include "client/core/tiered.h"

#include "client/tier/tier.h"

static bool is_quiet(const struct cl_node *node)
{
	const struct cl_file *file = node->file;
	return node->writers == 0 && !node->is_recalling &&
	       !(file && (cl_file_is_dirty(file) || file->edits));
}

const struct root *cl_tiered_root(struct client *c, const struct cl_node *node)
{
	if (!c->options.tiers || !cl_node_is_fresh(c, node) || !S_ISREG(node->attr.st.st_mode) ||
	    !is_quiet(node))
		return NULL;
	const struct root *root = &node->attr.root;
	bool is_large = root->length >= MAX_OF(c->options.tier_min_bytes, TIER_PIECE_BYTES);
	return is_large && (root->kind == ROOT_BLOCK || root->kind == ROOT_NODE) ? root : NULL;
}

struct tier_file *client_tier_find(struct client *c, inode_no ino)
{
	const struct root *root = cl_tiered_root(c, cl_node_find(c, ino));
	struct tier_file *f = root ? tiers_find(c->options.tiers, root) : NULL;
	if (!f || tiers_is_sealed(c->options.tiers, root))
		return f;
	tier_put(f);
	return NULL;
}
