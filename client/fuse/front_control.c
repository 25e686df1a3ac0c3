/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ioctl of the control plane (client/core/control.h): moves the text, decides nothing.
 */
#include "client/fuse/front_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/core/control.h"
#include "client/fuse/knode.h"

#define GROUPS_MAX 1024u	/* of a message; the others are not told */
_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "groups are told as the system has them");

static void reply_control(struct front_op *fop)
{
	struct control_message *message = fop->data;

	if (front_op_failed(fop))
		return;
	message->version = CONTROL_VERSION;
	message->len = fop->op.out_len;
	message->text[MIN_OF(message->len, CONTROL_TEXT_BYTES - 1)] = '\0';
	fuse_reply_ioctl(fop->req, 0, message, sizeof *message);
}

/* Of a caller whom /proc does not show, none: then his first group alone counts. */
static void take_groups(struct front_op *fop, uint32_t *groups)
{
	int count = fuse_req_getgroups(fop->req, GROUPS_MAX, groups);

	fop->op.groups = groups;
	fop->op.group_count = count < 0 ? 0 : MIN_OF((uint32_t)count, GROUPS_MAX);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg,
		     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_bytes,
		     size_t out_bytes)
{
	const struct control_message *asked = in;
	struct control_message *message;
	struct front_op *fop;

	(void)arg;
	(void)fi;
	(void)flags;
	if (command != CONTROL_IOCTL || in_bytes < sizeof *asked || out_bytes < sizeof *asked) {
		fuse_reply_err(req, ENOTTY);
		return;
	}
	if (asked->version != CONTROL_VERSION || asked->len > CONTROL_TEXT_BYTES) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	fop = front_op_create(req, CL_CONTROL, reply_control, 0);
	if (!fop)
		return;
	/* The answer, behind it the request, behind that the groups of the caller. */
	fop->data = calloc(1, 2 * sizeof *message + GROUPS_MAX * sizeof(gid_t));
	if (!fop->data) {
		front_op_refuse(fop, ENOMEM);
		return;
	}
	message = fop->data;
	memcpy(&message[1], asked, sizeof *asked);
	fop->op.bytes = message[1].text;
	fop->op.bytes_len = asked->len;
	fop->op.out = message->text;
	fop->op.out_capacity = CONTROL_TEXT_BYTES - 1;
	fop->op.at = knode_ino(ino);
	take_groups(fop, (uint32_t *)(void *)&message[2]);
	front_op_submit(fop);
}

void front_control_fill(struct fuse_lowlevel_ops *ops)
{
	ops->ioctl = op_ioctl;
}
