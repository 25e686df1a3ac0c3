/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking the nodes of a manifest. Each step runs in a turn of its own, so that nothing recurses.
 */
#include "fs/net/blocks_walk.h"

#include <string.h>

static void walk_turn(struct blocks_walk *walk)
{
	loop_timer_start(walk->loop, &walk->turn, 0);
}

static void walk_clear(struct blocks_walk *walk)
{
	if (walk->blocks)
		blocks_get_cancel(walk->blocks, &walk->get);
	if (walk->loop)
		loop_timer_stop(walk->loop, &walk->turn);
	while (walk->depth > 0)
		buf_put(walk->frames[--walk->depth].plain);
}

static void walk_end(struct blocks_walk *walk, int rc)
{
	walk_clear(walk);
	walk->rc = rc;
	walk->done(walk);
}

static void walk_got(struct blocks_get *get)
{
	struct blocks_walk *walk = get->user;
	struct blocks_walk_frame *frame = &walk->frames[walk->depth];
	int rc = get->rc;

	if (rc < 0) {
		walk_end(walk, rc);
		return;
	}
	*frame = (struct blocks_walk_frame){ .plain = get->plain, .id = walk->want.id };
	get->plain = NULL;
	walk->depth++;
	rc = node_view_init(&frame->view, frame->plain->data, frame->plain->len, walk->want_level,
			    &walk->want);
	if (rc == 0)
		rc = walk->node(walk, &frame->id, &frame->view);
	if (rc < 0)
		walk_end(walk, rc);
	else if (rc == 0)
		walk_turn(walk);
}

static void walk_fetch(struct blocks_walk *walk)
{
	walk->get = (struct blocks_get){
		.id = walk->want.id,
		.verify_id = true,
		.deadline_ns = loop_now_ns(walk->loop) + walk->node_ms * UINT64_C(1000000),
		.done = walk_got,
		.user = walk,
	};
	blocks_get_start(walk->blocks, &walk->get);
}

/* The next child of the deepest node that is to be walked; false: there is none. */
static bool walk_next(struct blocks_walk *walk, struct blocks_walk_frame *frame)
{
	if (frame->view.level == 0)
		return false;
	while (frame->next < frame->view.entry_count) {
		walk->want = node_view_entry(&frame->view, frame->next++);
		walk->want_level = (uint8_t)(frame->view.level - 1);
		if (!walk->wants || walk->wants(walk, &walk->want.id))
			return true;
	}
	return false;
}

static void walk_run(struct loop_timer *timer)
{
	struct blocks_walk *walk = container_of(timer, struct blocks_walk, turn);

	if (walk->want_level == UINT8_MAX) {	/* the begin */
		walk->want_level = (uint8_t)(walk->root.depth - 1);
		if (walk->wants && !walk->wants(walk, &walk->root.id))
			walk_end(walk, 0);
		else
			walk_fetch(walk);
		return;
	}
	while (walk->depth > 0) {
		struct blocks_walk_frame *frame = &walk->frames[walk->depth - 1];

		if (walk_next(walk, frame)) {
			walk_fetch(walk);
			return;
		}
		walk->depth--;
		buf_put(frame->plain);
		frame->plain = NULL;
		if (walk->left)
			walk->left(walk, &frame->id);
	}
	walk_end(walk, 0);
}

void blocks_walk_start(struct blocks *b, struct loop *loop, struct blocks_walk *walk)
{
	ASSERT(walk->root.kind == ROOT_NODE && walk->root.depth >= 1 &&
	       walk->root.depth <= MANIFEST_DEPTH_MAX && walk->node_ms > 0);
	walk->blocks = b;
	walk->loop = loop;
	walk->depth = 0;
	walk->turn.fn = walk_run;
	walk->want = node_entry_of_root(&walk->root);
	walk->want_level = UINT8_MAX;
	walk_turn(walk);
}

void blocks_walk_resume(struct blocks_walk *walk)
{
	walk_turn(walk);
}

void blocks_walk_cancel(struct blocks_walk *walk)
{
	walk_clear(walk);
}
