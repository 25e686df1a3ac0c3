/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model of content: cells, what clients have written and not flushed, and what was found in
 * place of it.
 */
#include "tests/sim/oracle_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- cells ------------------------------------------------------------------------------------ */

/* values[0] is the count of cells, values[1 + i] the tag of cell i, 0 for zeros. */
bool oracle_content_apply(const struct possible_op *op, uint16_t *values)
{
	uint16_t count = values[0], at = op->args[1];

	switch ((enum oracle_kind)op->args[0]) {
	case ORACLE_APPEND:
		if (count == ORACLE_CELLS_MAX)
			return false;
		at = count;
		break;
	case ORACLE_TRUNCATE:
		for (uint32_t i = at; i < count; i++)
			values[1 + i] = 0;
		values[0] = at;
		return true;
	default:
		break;
	}
	values[1 + at] = op->args[2];
	values[0] = MAX_OF(count, (uint16_t)(at + 1));
	return true;
}

void oracle_content_fill(uint8_t *out, uint32_t cell_bytes, uint16_t tag)
{
	uint64_t x = tag * UINT64_C(0x9e3779b97f4a7c15);

	if (tag == 0) {
		memset(out, 0, cell_bytes);
		return;
	}
	for (uint32_t i = 2; i < cell_bytes; i++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		/* Every other write is what can be encoded smaller. */
		out[i] = (uint8_t)(tag % 2 == 0 ? x >> 56 : 'a' + (x >> 60));
	}
	out[0] = (uint8_t)tag;
	out[1] = (uint8_t)(tag >> 8);
}

/* Which write, and which byte of it, is found where another was expected. */
static void torn(struct oracle *o, uint16_t node, uint32_t cell, uint32_t at, const uint8_t *bytes,
		 uint64_t len)
{
	uint32_t cell_bytes = o->nodes[node]->cell_bytes;
	const uint8_t *found = bytes + (size_t)cell * cell_bytes + at;
	uint8_t *other = malloc(cell_bytes);
	bool is_zero = true;

	ASSERT(other != NULL);
	printf("\n");
	for (uint32_t i = 0; i < 32 && found + i < bytes + len; i++)
		is_zero = is_zero && found[i] == 0;
	if (is_zero)
		printf("  it goes on with zeros\n");
	for (uint32_t tag = 1; tag <= o->last_tag && !is_zero; tag++) {
		oracle_content_fill(other, cell_bytes, (uint16_t)tag);
		const uint8_t *place =
			memmem(other, cell_bytes, found, MIN_OF(16u, cell_bytes - at));
		if (place != NULL)
			printf("  it goes on with write %u from byte %zu\n", tag,
			       (size_t)(place - other));
	}
	oracle_fail(o, "node %u (inode %llu): cell %u of %u bytes is torn at %u: tag %u", node,
		    (unsigned long long)o->nodes[node]->ino, cell, cell_bytes, at,
		    bytes[(size_t)cell * cell_bytes] | bytes[(size_t)cell * cell_bytes + 1] << 8);
}

/*
 * A writer that waits for room publishes what it has, to get back what it reserved too much; if the
 * publish of the rest then fails, others see a write in part before the writer hears of it.
 */
static bool may_be_partial(const struct oracle *o, const struct oracle_node *n)
{
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		if (n->writers[i].is_dirty &&
		    sim_world_now_ns(o->world) <= o->clients[i].disturbed_ns)
			return true;
	}
	return false;
}

void oracle_content_decode(struct oracle *o, uint16_t node, const uint8_t *bytes, uint64_t len,
			   uint16_t values[POSSIBLE_VALUES])
{
	uint32_t cell_bytes = o->nodes[node]->cell_bytes;
	uint8_t *expected = malloc(cell_bytes);
	uint64_t count = len / cell_bytes;

	ASSERT(expected != NULL);
	memset(values, 0, POSSIBLE_VALUES * sizeof(*values));
	if (len > INLINE_BYTES_MAX - cell_bytes && len % cell_bytes != 0 &&
	    may_be_partial(o, o->nodes[node]))
		o->nodes[node]->content.is_blurred = true;
	if (o->nodes[node]->content.is_blurred)
		count = MIN_OF(count, ORACLE_CELLS_MAX);
	else if (len % cell_bytes != 0 || count > ORACLE_CELLS_MAX)
		oracle_fail(o, "node %u has %llu bytes, in cells of %u", node,
			    (unsigned long long)len, cell_bytes);
	values[0] = (uint16_t)count;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *cell = bytes + (size_t)i * cell_bytes;
		values[1 + i] = (uint16_t)(cell[0] | cell[1] << 8);
		oracle_content_fill(expected, cell_bytes, values[1 + i]);
		for (uint32_t at = 0; at < cell_bytes; at++) {
			if (cell[at] != expected[at] && !o->nodes[node]->content.is_blurred)
				torn(o, node, i, at, bytes, len);
		}
	}
	free(expected);
}

/* --- content: what clients have not flushed --------------------------------------------------- */

static bool is_write(const struct possible_op *op)
{
	return op->args[0] == ORACLE_WRITE || op->args[0] == ORACLE_APPEND;
}

/* May its content be, or have been, more than travels inside one publish? */
static bool is_large(const struct oracle_node *n)
{
	for (uint32_t i = 0; i < n->content.count; i++) {
		if ((uint64_t)n->content.states[i].values[0] * n->cell_bytes > INLINE_BYTES_MAX)
			return true;
	}
	return false;
}

/* A write that did not return may have happened, or not; where it spans blocks, also in part. */
void oracle_content_doubt_write(struct oracle_node *n, const struct oracle_call *call)
{
	if (call->kind != ORACLE_TRUNCATE && is_large(n))
		n->content.is_blurred = true;
	possible_unknown(&n->content, call->op);
}

/* What this client wrote and did not flush may be lost. */
void oracle_content_doubt(struct oracle *o, struct oracle_node *n, uint32_t client, bool is_lost)
{
	struct possible *p = &n->content;

	if (!n->writers[client].is_dirty)
		return;
	if (is_large(n))
		p->is_blurred = true; /* a background publish may have shown a write in part */
	possible_roll_back(p, n->writers[client].since, sim_world_now_ns(o->world));
	for (uint32_t i = 0; i < p->op_count; i++) {
		if (p->ops[i].owner != client || !n->is_acked[i] || !is_write(&p->ops[i]))
			continue;
		possible_unknown(p, i);
		n->is_acked[i] = !is_lost;
	}
	n->writers[client].is_dirty = !is_lost;
}

static void wrote(struct oracle *o, struct oracle_call *call)
{
	struct oracle_node *n = o->nodes[call->node];
	struct possible *p = &n->content;

	p->ops[call->op].acked_ns = sim_world_now_ns(o->world);
	if (o->clients[call->client].is_suspect)
		possible_unknown(p, call->op);
	else if (!possible_happened(p, call->op, sim_world_now_ns(o->world)))
		oracle_call_fail(o, call, p, "it cannot have happened");
	if (call->kind == ORACLE_TRUNCATE)
		return; /* a metadata call: acknowledged when it returns */
	n->is_acked[call->op] = true;
	if (n->writers[call->client].is_dirty)
		return;
	n->writers[call->client].is_dirty = true;
	n->writers[call->client].since = p->moment_count > 0 ? p->moment_count - 1 : 0;
}

static void remember_flush(struct oracle_node *n, uint32_t client, uint64_t now_ns)
{
	uint32_t since = n->writers[client].since;

	if (!n->writers[client].is_dirty)
		return;
	if (now_ns - n->writers[client].flushed_ns < SIM_S)
		since = MIN_OF(since, n->writers[client].flushed_from);
	n->writers[client].flushed_from = since;
	n->writers[client].flushed_ns = now_ns;
	n->writers[client].is_dirty = false;
}

static void flushed(struct oracle *o, struct oracle_call *call)
{
	struct oracle_node *n = o->nodes[call->node];
	struct possible *p = &n->content;

	for (uint32_t i = 0; i < p->op_count; i++) {
		if (p->ops[i].owner != call->client || !n->is_acked[i] || !is_write(&p->ops[i]))
			continue;
		n->is_acked[i] = false;
		/* What was published before a power cut is clean, and may be lost. */
		if (p->ops[i].fate == POSSIBLE_UNKNOWN && !oracle_is_after_cut(o, call) &&
		    !possible_happened(p, i, sim_world_now_ns(o->world)))
			oracle_call_fail(o, call, p, "what it flushed cannot have happened");
	}
	remember_flush(n, call->client, sim_world_now_ns(o->world));
	if (call->kind != ORACLE_FSYNC)
		return;
	(void)possible_pin(p, call->client, call->begun_ns);
	oracle_synced(o, call);
}

static bool content_matches(void *arg, const uint16_t *values)
{
	const struct oracle_call *call = arg;

	if (call->kind == ORACLE_SIZE)
		return values[0] == call->values[0];
	return memcmp(values, call->values, sizeof(call->values)) == 0;
}

static bool is_unnamed(void *arg, const uint16_t *slots)
{
	const struct oracle_call *call = arg;

	return !oracle_is_named(slots, call->node);
}

static void content_failed(struct oracle *o, struct oracle_call *call)
{
	struct oracle_node *n = o->nodes[call->node];
	bool is_gone = call->rc == -E_NOENT || call->rc == -E_STALE;

	if (!(is_gone && possible_was(&o->names, call->names_born, is_unnamed, call)) &&
	    !oracle_is_disturbed(o, call))
		oracle_call_fail(o, call, &n->content, "its client was not disturbed");
	o->doubts++;
	if (call->kind <= ORACLE_TRUNCATE)
		oracle_content_doubt_write(n, call);
	else if (call->kind == ORACLE_FLUSH || call->kind == ORACLE_FSYNC)
		oracle_content_doubt(o, n, call->client, true);
}

void oracle_content_end(struct oracle *o, struct oracle_call *call)
{
	struct possible *p = &o->nodes[call->node]->content;

	if (call->rc < 0)
		content_failed(o, call);
	else if (call->kind <= ORACLE_TRUNCATE)
		wrote(o, call);
	else if (call->kind == ORACLE_FLUSH || call->kind == ORACLE_FSYNC)
		flushed(o, call);
	else if (call->kind != ORACLE_OPEN && !oracle_explains(o, p, call, content_matches, call))
		oracle_call_fail(o, call, p, "no order of the writes explains it");
}

void oracle_content_roll_back(struct oracle_node *n, uint64_t kept_ns, uint64_t now_ns)
{
	uint32_t moment = possible_moment_at(&n->content, kept_ns);

	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		if (n->writers[i].flushed_ns >= kept_ns)
			moment = MIN_OF(moment, n->writers[i].flushed_from);
	}
	possible_roll_back(&n->content, moment, now_ns);
}
