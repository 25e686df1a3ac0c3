/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model of names and contents, and the judgement of every answer.
 */
#include "tests/sim/oracle.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIRECTORY_BIT 0x8000u /* of a node's number in a slot */
#define SHOWN_STATES  6u

static const char *const kind_names[] = {
	"",	 "make",   "mkdir",    "unlink", "rmdir", "rename", "link",  "lookup", "list",
	"write", "append", "truncate", "read",	 "size",  "open",   "flush", "fsync",  "sync",
};

static const char *outcome(int rc)
{
	return rc < 0 ? error_text(rc) : "done";
}

/* The time of the story, as its trace tells it. */
static double story_s(uint64_t ns)
{
	return (double)(ns - SIM_BEGIN_NS) / 1e9;
}

/* --- judgement -------------------------------------------------------------------------------- */

void oracle_fail(struct oracle *o, const char *format, ...)
{
	unsigned long long seed = sim_world_seed(o->world);
	va_list args;

	va_start(args, format);
	printf("\nseed %llu FAILED at %.3f s: ", seed, story_s(sim_world_now_ns(o->world)));
	vprintf(format, args);
	printf("\nreplay: make sim SEED=%llu TRACE=1\n", seed);
	va_end(args);
	(void)fflush(stdout);
	_exit(EXIT_FAILURE);
}

static void show_states(const struct possible *p)
{
	for (uint32_t i = 0; i < p->count && i < SHOWN_STATES; i++) {
		printf("  possible:");
		for (uint32_t v = 0; v < POSSIBLE_VALUES; v++)
			printf(" %u", p->states[i].values[v]);
		printf("\n");
	}
	if (p->count > SHOWN_STATES)
		printf("  and %u more\n", p->count - SHOWN_STATES);
}

static void call_fail(struct oracle *o, const struct oracle_call *call, const struct possible *p,
		      const char *why)
{
	printf("\n");
	if (p != NULL)
		show_states(p);
	if (call->kind == ORACLE_READ) {
		printf("      read:");
		for (uint32_t v = 0; v < POSSIBLE_VALUES; v++)
			printf(" %u", call->values[v]);
		printf("\n");
	}
	oracle_fail(o,
		    "client%u: %s (slot %u, to %u, node %u, cell %u, tag %u, ino %llu) that began "
		    "at %.3f s "
		    "ended with '%s': %s",
		    call->client + 1, kind_names[call->kind], call->slot, call->new_slot,
		    call->node, call->cell, call->tag, (unsigned long long)call->ino,
		    story_s(call->begun_ns), outcome(call->rc), why);
}

/* --- names ------------------------------------------------------------------------------------ */

enum name_arg { ARG_KIND, ARG_SLOT, ARG_NEW_SLOT, ARG_NODE, ARG_FLAGS };

static bool is_named(const uint16_t *slots, uint16_t node)
{
	for (uint32_t i = 0; i < ORACLE_SLOTS; i++) {
		if ((slots[i] & ~DIRECTORY_BIT) == node)
			return true;
	}
	return false;
}

static int rename_refusal(const uint16_t *args, const uint16_t *slots)
{
	uint16_t from = slots[args[ARG_SLOT]], to = slots[args[ARG_NEW_SLOT]];

	if (from == 0)
		return -E_NOENT;
	if (args[ARG_FLAGS] & RENAME_EXCHANGE)
		return to == 0 ? -E_NOENT : 0;
	if (to == 0)
		return 0;
	if (args[ARG_FLAGS] & RENAME_NOREPLACE)
		return -E_EXIST;
	if (from == to)
		return 0;
	if ((to & DIRECTORY_BIT) != 0 && (from & DIRECTORY_BIT) == 0)
		return -E_ISDIR;
	return (from & DIRECTORY_BIT) != 0 && (to & DIRECTORY_BIT) == 0 ? -E_NOTDIR : 0;
}

/* What a change of names is refused with in this state; 0: it is not. */
static int name_refusal(const uint16_t *args, const uint16_t *slots)
{
	uint16_t at = slots[args[ARG_SLOT]];

	switch ((enum oracle_kind)args[ARG_KIND]) {
	case ORACLE_MAKE:
	case ORACLE_MKDIR:
		return at != 0 ? -E_EXIST : 0;
	case ORACLE_UNLINK:
		if (at == 0)
			return -E_NOENT;
		return at & DIRECTORY_BIT ? -E_ISDIR : 0;
	case ORACLE_RMDIR:
		if (at == 0)
			return -E_NOENT;
		return at & DIRECTORY_BIT ? 0 : -E_NOTDIR;
	case ORACLE_RENAME:
		return rename_refusal(args, slots);
	case ORACLE_LINK:
		if (!is_named(slots, args[ARG_NODE]))
			return -E_NOENT;
		return at != 0 ? -E_EXIST : 0;
	default:
		return -E_INVAL;
	}
}

static void rename_apply(const uint16_t *args, uint16_t *slots)
{
	uint16_t from = slots[args[ARG_SLOT]], to = slots[args[ARG_NEW_SLOT]];

	if (from == to)
		return; /* two names of one inode: POSIX does nothing */
	slots[args[ARG_NEW_SLOT]] = from;
	slots[args[ARG_SLOT]] = args[ARG_FLAGS] & RENAME_EXCHANGE ? to : 0;
}

static bool names_apply(const struct possible_op *op, uint16_t *slots)
{
	const uint16_t *args = op->args;

	if (name_refusal(args, slots) != 0)
		return false;
	switch ((enum oracle_kind)args[ARG_KIND]) {
	case ORACLE_MAKE:
	case ORACLE_LINK:
		slots[args[ARG_SLOT]] = args[ARG_NODE];
		break;
	case ORACLE_MKDIR:
		slots[args[ARG_SLOT]] = args[ARG_NODE] | DIRECTORY_BIT;
		break;
	case ORACLE_RENAME:
		rename_apply(args, slots);
		break;
	default:
		slots[args[ARG_SLOT]] = 0;
		break;
	}
	return true;
}

/* --- content ---------------------------------------------------------------------------------- */

/* values[0] is the count of cells, values[1 + i] the tag of cell i, 0 for zeros. */
static bool content_apply(const struct possible_op *op, uint16_t *values)
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

/* --- nodes ------------------------------------------------------------------------------------ */

static const uint32_t cell_sizes[] = {300, 5000, 20000, 44000};

static uint16_t node_create(struct oracle *o, bool is_directory)
{
	struct oracle_node *n = calloc(1, sizeof(*n));

	ASSERT(n != NULL && o->node_count + 1 < ORACLE_NODES);
	n->is_directory = is_directory;
	n->cell_bytes = cell_sizes[sim_world_below(o->world, ARRAY_COUNT(cell_sizes))];
	possible_init(&n->content, content_apply);
	o->nodes[++o->node_count] = n;
	return (uint16_t)o->node_count;
}

static void node_free(struct oracle *o, uint32_t node)
{
	if (o->nodes[node] == NULL)
		return;
	possible_finish(&o->nodes[node]->content);
	free(o->nodes[node]);
	o->nodes[node] = NULL;
}

uint16_t oracle_node_find(const struct oracle *o, inode_no ino)
{
	for (uint32_t i = 1; i <= o->node_count; i++) {
		if (o->nodes[i] != NULL && o->nodes[i]->ino == ino)
			return (uint16_t)i;
	}
	return 0;
}

struct seen { /* what a lookup or a listing saw */
	struct oracle *o;
	const struct oracle_call *call;
	uint16_t known; /* the node of the inode, if known */
};

static bool slot_matches(const struct seen *seen, uint16_t value, inode_no ino, uint16_t known)
{
	uint16_t node = value & (uint16_t)~DIRECTORY_BIT;

	if (ino == 0 || value == 0)
		return ino == 0 && value == 0;
	/* Its maker has not been told yet: any node without a number may be it. */
	return known != 0 ? node == known : seen->o->nodes[node]->ino == 0;
}

static bool lookup_matches(void *arg, const uint16_t *slots)
{
	const struct seen *seen = arg;
	uint16_t value = slots[seen->call->slot];

	if (!slot_matches(seen, value, seen->call->ino, seen->known))
		return false;
	return value == 0 || ((value & DIRECTORY_BIT) != 0) == seen->call->is_directory;
}

static bool list_matches(void *arg, const uint16_t *slots)
{
	const struct seen *seen = arg;

	for (uint32_t i = 0; i < ORACLE_NAMES; i++) {
		inode_no ino = seen->call->listed[i];
		if (!slot_matches(seen, slots[seen->call->slot + i], ino,
				  ino ? oracle_node_find(seen->o, ino) : 0))
			return false;
	}
	return true;
}

/* An inode that nobody was told of yet: the one node that can be it gets its number. */
static void bind(struct oracle *o, const struct oracle_call *call)
{
	uint16_t only = 0;

	if (o->names.is_blurred)
		return;
	for (uint32_t i = 0; i < o->names.count; i++) {
		uint16_t node = o->names.states[i].values[call->slot] & (uint16_t)~DIRECTORY_BIT;
		if (node == 0 || o->nodes[node]->ino != 0 ||
		    o->nodes[node]->is_directory != call->is_directory)
			continue;
		if (only != 0 && only != node)
			return;
		only = node;
	}
	if (only != 0)
		o->nodes[only]->ino = call->ino;
}

/* Its client may not have heard yet that the metadata server lost something. */
static bool is_after_cut(const struct oracle *o, const struct oracle_call *call)
{
	return o->cut_ns != 0 && call->begun_ns <= o->cut_ns + CLUSTER_LEASE_MS * SIM_MS;
}

/*
 * Something was seen. For one lease after a power cut of the metadata server a client may still
 * show what was lost, since it cannot know: what it saw then is old, or new, and teaches nothing.
 */
static bool explains(struct oracle *o, struct possible *p, const struct oracle_call *call,
		     possible_match_fn match, void *arg)
{
	uint64_t now_ns = sim_world_now_ns(o->world);
	uint32_t born = call->born;

	if (!is_after_cut(o, call))
		return possible_observed(p, born, match, arg, now_ns);
	return possible_was(p, MIN_OF(born, possible_moment_at(p, o->cut_ns)), match, arg);
}

static void lookup_end(struct oracle *o, struct oracle_call *call)
{
	struct seen seen = {.o = o, .call = call};

	if (call->ino != 0)
		seen.known = oracle_node_find(o, call->ino);
	if (!explains(o, &o->names, call, call->kind == ORACLE_LIST ? list_matches : lookup_matches,
		      &seen))
		call_fail(o, call, &o->names, "no order of the changes explains it");
	if (call->kind == ORACLE_LOOKUP && call->ino != 0 && seen.known == 0 &&
	    call->born == o->names.moment_count)
		bind(o, call);
}

static bool refusal_matches(void *arg, const uint16_t *slots)
{
	const struct oracle_call *call = arg;
	const uint16_t args[] = {(uint16_t)call->kind, (uint16_t)call->slot,
				 (uint16_t)call->new_slot, call->node, (uint16_t)call->flags};

	/* An inode without names is STALE or NOENT; and a taken name may be found first. */
	if (call->kind == ORACLE_LINK && !is_named(slots, call->node) && call->rc == -E_STALE)
		return true;
	if (call->kind == ORACLE_LINK && slots[call->slot] != 0 && call->rc == -E_EXIST)
		return true;
	return name_refusal(args, slots) == call->rc;
}

static void made(struct oracle *o, struct oracle_call *call)
{
	struct oracle_node *n = o->nodes[call->node];
	uint16_t known = oracle_node_find(o, call->ino);

	if ((known != 0 && known != call->node) || (n->ino != 0 && n->ino != call->ino))
		call_fail(o, call, NULL, "the inode number was used before");
	n->ino = call->ino;
}

static bool is_disturbed(const struct oracle *o, const struct oracle_call *call)
{
	return call->begun_ns <= o->clients[call->client].disturbed_ns;
}

static bool is_refusal(int rc)
{
	return rc == -E_NOENT || rc == -E_EXIST || rc == -E_ISDIR || rc == -E_NOTDIR;
}

/* A metadata server that is full, or whose disk failed, changes nothing and says so. */
static bool is_turned_away(int rc)
{
	return rc == -E_NOSPC || rc == -E_ROFS;
}

static bool always(void *arg, const uint16_t *values)
{
	(void)arg;
	(void)values;
	return true;
}

static void names_end(struct oracle *o, struct oracle_call *call)
{
	uint64_t now_ns = sim_world_now_ns(o->world);

	if (call->rc == 0) {
		if (call->kind == ORACLE_MAKE || call->kind == ORACLE_MKDIR)
			made(o, call);
		o->names.ops[call->op].acked_ns = now_ns;
		if (!possible_happened(&o->names, call->op, now_ns))
			call_fail(o, call, &o->names, "it cannot have happened");
	} else if (is_refusal(call->rc) || (call->rc == -E_STALE && call->kind == ORACLE_LINK)) {
		if (!possible_failed(&o->names, call->op, refusal_matches, call, now_ns))
			call_fail(o, call, &o->names, "nothing explains the refusal");
	} else if (is_disturbed(o, call) && is_turned_away(call->rc)) {
		if (!possible_failed(&o->names, call->op, always, call, now_ns))
			call_fail(o, call, &o->names, "it has happened");
	} else if (is_disturbed(o, call)) {
		o->doubts++;
		possible_unknown(&o->names, call->op);
	} else {
		call_fail(o, call, NULL, "its client was not disturbed");
	}
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
static void doubt_write(struct oracle_node *n, const struct oracle_call *call)
{
	if (call->kind != ORACLE_TRUNCATE && is_large(n))
		n->content.is_blurred = true;
	possible_unknown(&n->content, call->op);
}

/* What this client wrote and did not flush may be lost. */
static void doubt_writes(struct oracle *o, struct oracle_node *n, uint32_t client, bool is_lost)
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
		call_fail(o, call, p, "it cannot have happened");
	if (call->kind == ORACLE_TRUNCATE)
		return; /* a metadata call: acknowledged when it returns */
	n->is_acked[call->op] = true;
	if (n->writers[call->client].is_dirty)
		return;
	n->writers[call->client].is_dirty = true;
	n->writers[call->client].since = p->moment_count > 0 ? p->moment_count - 1 : 0;
}

/* D2: the names that this client changed, and all that was acknowledged before they were, are
 * durable. */
static void synced(struct oracle *o, const struct oracle_call *call)
{
	o->durable_ns =
		MAX_OF(o->durable_ns, possible_pin(&o->names, call->client, call->begun_ns));
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
		if (p->ops[i].fate == POSSIBLE_UNKNOWN && !is_after_cut(o, call) &&
		    !possible_happened(p, i, sim_world_now_ns(o->world)))
			call_fail(o, call, p, "what it flushed cannot have happened");
	}
	remember_flush(n, call->client, sim_world_now_ns(o->world));
	if (call->kind != ORACLE_FSYNC)
		return;
	(void)possible_pin(p, call->client, call->begun_ns);
	synced(o, call);
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

	return !is_named(slots, call->node);
}

static void content_failed(struct oracle *o, struct oracle_call *call)
{
	struct oracle_node *n = o->nodes[call->node];
	bool is_gone = call->rc == -E_NOENT || call->rc == -E_STALE;

	if (!(is_gone && possible_was(&o->names, call->names_born, is_unnamed, call)) &&
	    !is_disturbed(o, call))
		call_fail(o, call, &n->content, "its client was not disturbed");
	o->doubts++;
	if (call->kind <= ORACLE_TRUNCATE)
		doubt_write(n, call);
	else if (call->kind == ORACLE_FLUSH || call->kind == ORACLE_FSYNC)
		doubt_writes(o, n, call->client, true);
}

static void content_end(struct oracle *o, struct oracle_call *call)
{
	struct possible *p = &o->nodes[call->node]->content;

	if (call->rc < 0)
		content_failed(o, call);
	else if (call->kind <= ORACLE_TRUNCATE)
		wrote(o, call);
	else if (call->kind == ORACLE_FLUSH || call->kind == ORACLE_FSYNC)
		flushed(o, call);
	else if (call->kind != ORACLE_OPEN && !explains(o, p, call, content_matches, call))
		call_fail(o, call, p, "no order of the writes explains it");
}

/* --- calls ------------------------------------------------------------------------------------ */

bool oracle_is_full(const struct oracle *o)
{
	if (possible_is_full(&o->names, 32) || o->node_count + 32 > ORACLE_NODES ||
	    o->last_tag > 60000)
		return true;
	for (uint32_t i = 1; i <= o->node_count; i++) {
		if (o->nodes[i] != NULL && possible_is_full(&o->nodes[i]->content, 32))
			return true;
	}
	return false;
}

static void told(struct possible *p, const struct oracle_call *call)
{
	p->ops[call->op].owner = call->client;
	p->ops[call->op].begun_ns = call->begun_ns;
}

static void begin_content(struct oracle *o, struct oracle_call *call)
{
	struct oracle_node *n = o->nodes[call->node];

	call->born = possible_moment(&n->content);
	if (call->kind > ORACLE_TRUNCATE)
		return;
	if (call->kind != ORACLE_TRUNCATE)
		call->tag = ++o->last_tag;
	const uint16_t args[6] = {(uint16_t)call->kind, (uint16_t)call->cell, call->tag};
	call->op = possible_begin(&n->content, args);
	told(&n->content, call);
	n->is_acked[call->op] = false;
}

void oracle_begin(struct oracle *o, struct oracle_call *call)
{
	call->begun_ns = sim_world_now_ns(o->world);
	call->names_born = possible_moment(&o->names);
	call->is_begun = true;
	o->calls++;
	if (call->kind >= ORACLE_WRITE && call->kind <= ORACLE_FSYNC) {
		begin_content(o, call);
		return;
	}
	call->born = call->names_born;
	if (call->kind >= ORACLE_LOOKUP)
		return;
	if (call->kind == ORACLE_MAKE || call->kind == ORACLE_MKDIR)
		call->node = node_create(o, call->kind == ORACLE_MKDIR);
	const uint16_t args[6] = {(uint16_t)call->kind, (uint16_t)call->slot,
				  (uint16_t)call->new_slot, call->node, (uint16_t)call->flags};
	call->op = possible_begin(&o->names, args);
	told(&o->names, call);
}

void oracle_end(struct oracle *o, struct oracle_call *call)
{
	ASSERT(call->is_begun);
	call->is_begun = false;
	sim_world_note(o->world, "client%u %s slot=%u to=%u node=%u cell=%u tag=%u ino=%llu: %s",
		       call->client + 1, kind_names[call->kind], call->slot, call->new_slot,
		       call->node, call->cell, call->tag, (unsigned long long)call->ino,
		       outcome(call->rc));
	if (call->kind < ORACLE_LOOKUP) {
		names_end(o, call);
	} else if (call->kind >= ORACLE_WRITE && call->kind <= ORACLE_FSYNC) {
		content_end(o, call);
	} else if (call->rc < 0 && !(call->kind == ORACLE_LOOKUP && call->rc == -E_NOENT)) {
		if (!is_disturbed(o, call))
			call_fail(o, call, NULL, "its client was not disturbed");
		o->doubts++;
	} else if (call->kind == ORACLE_SYNC) {
		synced(o, call);
	} else {
		lookup_end(o, call);
	}
}

void oracle_abandon(struct oracle *o, struct oracle_call *call)
{
	if (!call->is_begun)
		return;
	call->is_begun = false;
	if (call->kind < ORACLE_LOOKUP)
		possible_unknown(&o->names, call->op);
	else if (call->kind >= ORACLE_WRITE && call->kind <= ORACLE_TRUNCATE)
		doubt_write(o->nodes[call->node], call);
}

/* --- what happens to the cluster -------------------------------------------------------------- */

void oracle_disturbed(struct oracle *o, uint32_t client, uint64_t until_ns)
{
	o->clients[client].disturbed_ns = MAX_OF(o->clients[client].disturbed_ns, until_ns);
}

static void doubt_client(struct oracle *o, uint32_t client, bool is_lost)
{
	for (uint32_t i = 1; i <= o->node_count; i++) {
		if (o->nodes[i] != NULL)
			doubt_writes(o, o->nodes[i], client, is_lost);
	}
}

void oracle_suspect(struct oracle *o, uint32_t client)
{
	if (o->clients[client].is_suspect)
		return;
	o->clients[client].is_suspect = true;
	doubt_client(o, client, false);
}

void oracle_crashed(struct oracle *o, uint32_t client)
{
	doubt_client(o, client, true);
}

static void roll_back_content(struct oracle_node *n, uint64_t kept_ns, uint64_t now_ns)
{
	uint32_t moment = possible_moment_at(&n->content, kept_ns);

	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++) {
		if (n->writers[i].flushed_ns >= kept_ns)
			moment = MIN_OF(moment, n->writers[i].flushed_from);
	}
	possible_roll_back(&n->content, moment, now_ns);
}

void oracle_power_cut(struct oracle *o, uint64_t journal_lag_ns)
{
	uint64_t now_ns = sim_world_now_ns(o->world);
	uint64_t kept_ns = MAX_OF(o->durable_ns, now_ns - journal_lag_ns);

	o->cut_ns = now_ns;
	modes_forget(&o->modes);
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++)
		oracle_suspect(o, i);
	possible_roll_back(&o->names, possible_moment_at(&o->names, kept_ns), now_ns);
	for (uint32_t i = 1; i <= o->node_count; i++) {
		if (o->nodes[i] != NULL)
			roll_back_content(o->nodes[i], kept_ns, now_ns);
	}
}

/* --- settling --------------------------------------------------------------------------------- */

/* With a blurred set, or several nodes that may be it: the inode is any that fits. */
static uint16_t adopt(struct oracle *o, inode_no ino, uint32_t slot, bool is_directory)
{
	for (uint32_t s = 0; s < o->names.count; s++) {
		uint16_t node = o->names.states[s].values[slot] & (uint16_t)~DIRECTORY_BIT;
		if (node != 0 && o->nodes[node]->ino == 0 &&
		    o->nodes[node]->is_directory == is_directory) {
			o->nodes[node]->ino = ino;
			return node;
		}
	}
	if (!o->names.is_blurred)
		oracle_fail(o, "slot %u names inode %llu, which nobody made", slot,
			    (unsigned long long)ino);
	uint16_t node = node_create(o, is_directory);
	o->nodes[node]->ino = ino;
	o->nodes[node]->content.is_blurred = true;
	return node;
}

static void settle(struct oracle *o, struct possible *p, const uint16_t values[POSSIBLE_VALUES],
		   const char *what)
{
	if (!possible_allows(p, values)) {
		printf("\n");
		show_states(p);
		printf("  after healing:");
		for (uint32_t i = 0; i < POSSIBLE_VALUES; i++)
			printf(" %u", values[i]);
		printf("\n");
		oracle_fail(o, "%s none of those possible", what);
	}
	possible_settle(p, values);
}

void oracle_settle_names(struct oracle *o, const inode_no inos[ORACLE_SLOTS],
			 const bool is_directory[ORACLE_SLOTS])
{
	uint16_t values[POSSIBLE_VALUES] = {0};

	o->blurs += o->names.is_blurred;
	for (uint32_t i = 0; i < ORACLE_SLOTS; i++) {
		if (inos[i] == 0)
			continue;
		uint16_t node = oracle_node_find(o, inos[i]);
		if (node == 0)
			node = adopt(o, inos[i], i, is_directory[i]);
		values[i] = is_directory[i] ? node | DIRECTORY_BIT : node;
	}
	settle(o, &o->names, values, "the names are");
}

void oracle_settle_content(struct oracle *o, uint16_t node, const uint16_t values[POSSIBLE_VALUES])
{
	char what[64];

	o->blurs += o->nodes[node]->content.is_blurred;
	(void)snprintf(what, sizeof(what), "the content of node %u (inode %llu) is", node,
		       (unsigned long long)o->nodes[node]->ino);
	settle(o, &o->nodes[node]->content, values, what);
}

void oracle_settled(struct oracle *o)
{
	for (uint32_t i = 1; i <= o->node_count; i++) {
		struct oracle_node *n = o->nodes[i];
		if (n == NULL)
			continue;
		if (!is_named(o->names.states[0].values, (uint16_t)i)) {
			node_free(o, i);
			continue;
		}
		memset(n->writers, 0, sizeof(n->writers));
	}
	for (uint32_t i = 0; i < CLUSTER_CLIENTS; i++)
		o->clients[i].is_suspect = false;
}

void oracle_init(struct oracle *o, struct sim_world *world)
{
	memset(o, 0, sizeof(*o));
	o->world = world;
	possible_init(&o->names, names_apply);
}

void oracle_finish(struct oracle *o)
{
	for (uint32_t i = 1; i <= o->node_count; i++)
		node_free(o, i);
	possible_finish(&o->names);
}
