/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judgement of every answer: the model of names, and of content (oracle_content.c) as calls
 * change it, doubts and losses.
 */
#include "tests/sim/oracle_internal.h"

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

void oracle_call_fail(struct oracle *o, const struct oracle_call *call, const struct possible *p,
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

bool oracle_is_named(const uint16_t *slots, uint16_t node)
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
		if (!oracle_is_named(slots, args[ARG_NODE]))
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

/* --- nodes ------------------------------------------------------------------------------------ */

static const uint32_t cell_sizes[] = {300, 5000, 20000, 44000};

static uint16_t node_create(struct oracle *o, bool is_directory)
{
	struct oracle_node *n = calloc(1, sizeof(*n));

	ASSERT(n != NULL && o->node_count + 1 < ORACLE_NODES);
	n->is_directory = is_directory;
	n->cell_bytes = cell_sizes[sim_world_below(o->world, ARRAY_COUNT(cell_sizes))];
	possible_init(&n->content, oracle_content_apply);
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
bool oracle_is_after_cut(const struct oracle *o, const struct oracle_call *call)
{
	return o->cut_ns != 0 && call->begun_ns <= o->cut_ns + CLUSTER_LEASE_MS * SIM_MS;
}

/*
 * Something was seen. For one lease after a power cut of the metadata server a client may still
 * show what was lost, since it cannot know: what it saw then is old, or new, and teaches nothing.
 */
bool oracle_explains(struct oracle *o, struct possible *p, const struct oracle_call *call,
		     possible_match_fn match, void *arg)
{
	uint64_t now_ns = sim_world_now_ns(o->world);
	uint32_t born = call->born;

	if (!oracle_is_after_cut(o, call))
		return possible_observed(p, born, match, arg, now_ns);
	return possible_was(p, MIN_OF(born, possible_moment_at(p, o->cut_ns)), match, arg);
}

static void lookup_end(struct oracle *o, struct oracle_call *call)
{
	struct seen seen = {.o = o, .call = call};

	if (call->ino != 0)
		seen.known = oracle_node_find(o, call->ino);
	if (!oracle_explains(o, &o->names, call,
			     call->kind == ORACLE_LIST ? list_matches : lookup_matches, &seen))
		oracle_call_fail(o, call, &o->names, "no order of the changes explains it");
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
	if (call->kind == ORACLE_LINK && !oracle_is_named(slots, call->node) &&
	    call->rc == -E_STALE)
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
		oracle_call_fail(o, call, NULL, "the inode number was used before");
	n->ino = call->ino;
}

bool oracle_is_disturbed(const struct oracle *o, const struct oracle_call *call)
{
	bool is_sync = call->kind == ORACLE_FSYNC || call->kind == ORACLE_SYNC;

	/* What a power cut took is told by the next sync, whenever that comes. */
	return call->begun_ns <= o->clients[call->client].disturbed_ns ||
	       (is_sync && call->rc == -E_OTHER_TERM && o->cut_ns != 0);
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
			oracle_call_fail(o, call, &o->names, "it cannot have happened");
	} else if (is_refusal(call->rc) || (call->rc == -E_STALE && call->kind == ORACLE_LINK)) {
		if (!possible_failed(&o->names, call->op, refusal_matches, call, now_ns))
			oracle_call_fail(o, call, &o->names, "nothing explains the refusal");
	} else if (oracle_is_disturbed(o, call) && is_turned_away(call->rc)) {
		if (!possible_failed(&o->names, call->op, always, call, now_ns))
			oracle_call_fail(o, call, &o->names, "it has happened");
	} else if (oracle_is_disturbed(o, call)) {
		o->doubts++;
		possible_unknown(&o->names, call->op);
	} else {
		oracle_call_fail(o, call, NULL, "its client was not disturbed");
	}
}

/* D2: the names that this client changed, and all that was acknowledged before they were, are
 * durable. */
void oracle_synced(struct oracle *o, const struct oracle_call *call)
{
	o->durable_ns =
		MAX_OF(o->durable_ns, possible_pin(&o->names, call->client, call->begun_ns));
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
	if (call->rc == -E_OTHER_TERM)
		possible_told(&o->names, call->client);
	if (call->kind < ORACLE_LOOKUP) {
		names_end(o, call);
	} else if (call->kind >= ORACLE_WRITE && call->kind <= ORACLE_FSYNC) {
		oracle_content_end(o, call);
	} else if (call->rc < 0 && !(call->kind == ORACLE_LOOKUP && call->rc == -E_NOENT)) {
		if (!oracle_is_disturbed(o, call))
			oracle_call_fail(o, call, NULL, "its client was not disturbed");
		o->doubts++;
	} else if (call->kind == ORACLE_SYNC) {
		if (!possible_kept(&o->names, call->client, o->clients[call->client].crashed_ns,
				   call->begun_ns, sim_world_now_ns(o->world)))
			oracle_call_fail(o, call, &o->names,
					 "it does not tell what a power cut took");
		oracle_synced(o, call);
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
		oracle_content_doubt_write(o->nodes[call->node], call);
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
			oracle_content_doubt(o, o->nodes[i], client, is_lost);
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
	o->clients[client].crashed_ns = sim_world_now_ns(o->world);
	doubt_client(o, client, true);
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
			oracle_content_roll_back(o->nodes[i], kept_ns, now_ns);
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
		if (!oracle_is_named(o->names.states[0].values, (uint16_t)i)) {
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
