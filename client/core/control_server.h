/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the control plane that asks the metadata server (control.h). On the loop's thread. */
#ifndef CAIRN_CLIENT_CORE_CONTROL_SERVER_H
#define CAIRN_CLIENT_CORE_CONTROL_SERVER_H

#include <jansson.h>

#include "client/core/core.h"

/* The numbers of the protocol (Clone.action). */
enum cl_clone_action {
	CL_CLONE_BEGIN = 1, CL_CLONE_STEP = 2, CL_CLONE_SHOW = 3, CL_CLONE_DROP = 4,
};

/* The numbers of the protocol (Trash.action). */
enum cl_trash_action {
	CL_TRASH_ENABLE = 1, CL_TRASH_DISABLE = 2, CL_TRASH_RESTORE = 3, CL_TRASH_EMPTY = 4,
};

/* 1: the op is answered later; or an error, and it is still the caller's. */
must_check int cl_control_clone(struct cl_op *op, const json_t *request, uint32_t action);

must_check int cl_control_trash(struct cl_op *op, const json_t *request, uint32_t action);
must_check int cl_control_trash_list(struct cl_op *op, const json_t *request, uint32_t unused);

#endif
