/* SPDX-License-Identifier: Apache-2.0 */
/* Private to cut.c and cut_plan.c: what the cut asks of its plan. */
#ifndef CAIRN_FS_TREE_CUT_PLAN_H
#define CAIRN_FS_TREE_CUT_PLAN_H

#include "fs/tree/cut.h"

/*
 * The first edge behind `offset`, UINT64_MAX if there is none. `index` is where the search left
 * off at an earlier offset, 0 at first. `plan` may be NULL.
 */
uint64_t cut_plan_next(const struct cut_plan *plan, uint32_t *index, uint64_t offset);

#endif
