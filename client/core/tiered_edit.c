/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the front of edits, for its passthrough opens. See tiered.h and cl_options.on_edit. */
#include "client/core/tiered.h"
#include "client/core/draft.h"

#include <linux/falloc.h>

static enum cl_edit_kind kind_of(const struct cl_op *op)
{
	const uint32_t zeroing = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	if (op->progress == 0)
		return CL_EDIT_SIZE;
	switch (op->kind) {
	case CL_WRITE: return CL_EDIT_BYTES;
	case CL_COPY_RANGE: return CL_EDIT_COPIED;
	case CL_FALLOCATE: return op->flags & zeroing ? CL_EDIT_ZEROS : CL_EDIT_SIZE;
	default: return CL_EDIT_SIZE;
	}
}

void cl_tiered_edited(const struct cl_op *op)
{
	struct cl_file *file = op->file;
	const struct client *c = file->client;
	struct cl_edit edit = { .kind = kind_of(op), .ino = file->node->ino, .size = file->size };
	if (op->kind == CL_SETATTR && file->size == 0)
		cl_draft_restart(file);
	bool is_change = op->progress > 0 || (op->kind != CL_WRITE && op->kind != CL_COPY_RANGE);
	if (!c->options.on_edit || !is_change)
		return;
	if (edit.kind != CL_EDIT_SIZE) {
		edit.offset = op->kind == CL_COPY_RANGE ? op->out_offset : op->offset;
		edit.length = op->progress;
	}
	if (edit.kind == CL_EDIT_BYTES)
		edit.bytes = op->bytes;
	c->options.on_edit(c->options.arg, &edit);
}
